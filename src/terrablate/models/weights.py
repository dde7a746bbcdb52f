"""Pretrained weights: read safely, fitted to the network by name, its first convolution by band name."""

import hashlib
import logging
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from terrablate.config.schema import FileWeights, ImagenetWeights, TimmModel
from terrablate.errors import UserError, WeightsError
from terrablate.models.build import Built, first_line, timm_network
from terrablate.models.networks import classifiers

logger = logging.getLogger(__name__)

type State = dict[str, torch.Tensor]

RGB = ("red", "green", "blue")
_PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "backbone.", "encoder.")
_NESTED = ("state_dict", "model_state_dict", "model")


@dataclass
class LoadReport:
    """What became of the weights; goes into the record."""

    origin: str
    loaded: int = 0
    adapted: dict[str, str] = field(default_factory=dict)
    """Name and how, such as the first convolution, mapped by band."""
    left_out: list[str] = field(default_factory=list)
    """In the weights and not used."""
    initialised: list[str] = field(default_factory=list)
    """In the network and not in the weights."""

    def plain(self) -> dict[str, Any]:
        """As it stands in the record."""
        return asdict(self)

    def sentence(self) -> str:
        """For the terminal."""
        parts = [f"{self.loaded} tensors from {self.origin}"]
        parts += [f"{name} {how}" for name, how in self.adapted.items()]
        parts += [f"not used: {_short(self.left_out)}"] if self.left_out else []
        parts += [f"left as initialised: {_short(self.initialised)}"] if self.initialised else []
        return "; ".join(parts)


def read_state(path: Path, sha256: str | None = None) -> State:
    """Read a state dict or checkpoint, never running code from it.

    Args:
        path: a file of `torch.save`, or one of safetensors by its suffix.
        sha256: the first characters of the expected digest.

    Raises:
        WeightsError: if there is no such file, its digest differs, it carries code, or it holds no tensors by name.
    """
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {path}")
    if sha256 is not None and not (found := file_sha256(path)).startswith(sha256.lower()):
        raise WeightsError(f"weights.sha256={sha256}: {path} has {found[: max(8, len(sha256))]}...")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights: {path} carries Python objects besides tensors, which could run code, and is not opened;"
            " save its state_dict() alone"
        ) from error
    except Exception as error:  # a broken file fails in torch's reader in many ways
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise WeightsError(
            f"weights: {path} cannot be read as weights; is it a whole file of torch.save or safetensors? ({reason})"
        ) from error
    return _state_of(content, path)


def _state_of(content: Any, path: Path) -> State:
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise WeightsError(f"weights: {path} holds a {type(content).__name__}, not a state dict of named tensors")
    state = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise WeightsError(f"weights: {path} is no state dict: it holds no named tensors")
    return state


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_state(weights: ImagenetWeights, model: TimmModel, image_size: int) -> State:
    """The weights that timm publishes for a network: downloaded and cached by timm, or from `weights.file`.

    Raises:
        WeightsError: if they cannot be downloaded or read.
    """
    options: dict[str, Any] = {}
    if weights.file is not None:
        if not weights.file.endswith(".npz"):  # which carries no code, and timm alone can read
            read_state(Path(weights.file))  # older timm would run code that stands in the file
        options["pretrained_cfg_overlay"] = {"file": weights.file}
    try:
        network = timm_network(model, image_size=image_size, tag=weights.tag, pretrained=True, **options)
    except UserError:
        raise
    except Exception as error:  # the hub's client, torch and timm fail in many ways
        where = weights.file or "the network; weights.file=... takes a file that is already on disk"
        raise WeightsError(
            f"weights=imagenet: cannot get the weights of {model.timm_name} from {where}: {first_line(error)}"
        ) from error
    return network.state_dict()


def load_weights(
    built: Built,
    state: State,
    *,
    origin: str,
    bands: Sequence[str],
    weight_bands: Sequence[str] | None,
    partial: bool,
) -> LoadReport:
    """Fill a network with weights, in place.

    A first convolution for other bands is mapped by band name: a band that the weights know takes its filters, the
    others start at zero, so that the network starts as it was trained and learns to use them. Dense layers for another
    number of classes keep their initialisation. Names may carry the prefixes of usual wrappers.

    Args:
        built: the network after surgery.
        state: tensors by name.
        origin: where they come from, for messages.
        bands: names of the data's bands, in order; red, green, blue where they are those.
        weight_bands: names of the bands that the weights expect, in order; None if unknown.
        partial: accept weights that do not fill the whole backbone.

    Raises:
        WeightsError: if shapes differ, no band is shared, or less than the backbone is filled.
    """
    network = built.network
    own = network.state_dict()
    state = _without_prefixes(state, own)
    report = LoadReport(origin)
    head = _head_names(network)
    stem = stem_name(network)
    filled: State = {}
    wrong: list[str] = []
    for name, value in state.items():
        if name not in own:
            report.left_out.append(name)
        elif (
            name == stem
            and weight_bands is not None
            and (list(weight_bands) != list(bands) or value.shape != own[name].shape)
        ):
            filled[name] = _map_bands(value, own[name], bands, weight_bands, origin)
            shared = [band for band in bands if band in weight_bands]
            report.adapted[name] = f"mapped by band ({', '.join(shared)})"
        elif value.shape == own[name].shape:
            filled[name] = value
        elif name in head:
            report.left_out.append(name)
        elif name == stem and value.shape[1] != own[name].shape[1]:
            raise WeightsError(
                f"weights: {origin} expects {value.shape[1]} bands, the data have {len(bands)};"
                " say which they are with weights.bands=[...]"
            )
        else:
            wrong.append(f"{name} {_size(value)} instead of {_size(own[name])}")
    if wrong:
        raise WeightsError(f"weights: {origin} does not fit the network: {_short(wrong)}")
    report.loaded = len(filled)
    report.initialised = sorted(set(own) - set(filled))
    _check_complete(built, report, head, partial)
    network.load_state_dict(filled, strict=False)
    logger.info("weights: %s", report.sentence())
    return report


def canonical(bands: Sequence[str], rgb: Sequence[str] | None) -> list[str]:
    """Band names with red, green and blue called so, whatever the sensor calls them."""
    alias = dict(zip(rgb, RGB, strict=True)) if rgb else {}
    return [alias.get(band, band) for band in bands]


def file_bands(weights: FileWeights, bands: Sequence[str], state: State, network: nn.Module) -> list[str] | None:
    """The bands that the weights of a file expect, as far as the config or the first convolution tells."""
    if weights.bands is not None:
        return weights.bands
    stem = _without_prefixes(state, network.state_dict()).get(stem_name(network) or "")
    if stem is not None and stem.shape[1] == len(RGB):
        return list(RGB)
    return list(bands) if stem is not None and stem.shape[1] == len(bands) else None


def _check_complete(built: Built, report: LoadReport, head: set[str], partial: bool) -> None:
    backbone = set(built.network.state_dict()) & built.native_keys - head
    backbone = {name for name in backbone if not name.endswith("num_batches_tracked")}
    missing = sorted(backbone & set(report.initialised))
    if report.loaded == 0 or (missing and not partial):
        filled = len(backbone) - len(missing)
        raise WeightsError(
            f"weights: {report.origin} fills {filled} of the {len(backbone)} tensors of the backbone, not"
            f" {_short(missing)}; are they of another network? weights.partial=true accepts a part"
        )


def _without_prefixes(state: State, own: State) -> State:
    """Strip prefixes of wrappers while that makes more names known."""

    def known(candidate: State) -> int:
        return sum(name in own for name in candidate)

    while True:
        stripped = [
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            for prefix in _PREFIXES
        ]
        candidates = [candidate for candidate in stripped if candidate]
        best = max(candidates, key=lambda candidate: (known(candidate), len(candidate)), default=None)
        if best is None or known(state) >= max(known(best), 1):
            return state
        state = best


def stem_name(network: nn.Module) -> str | None:
    """Name of the weight of the first convolution: the one that sees the bands."""
    return next((f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)), None)


def _head_names(network: nn.Module) -> set[str]:
    heads = classifiers(network)
    prefixes = [f"{name}." for name, layer in network.named_modules() if name and any(layer is head for head in heads)]
    return {name for name in network.state_dict() if any(name.startswith(prefix) for prefix in prefixes)}


def _map_bands(
    value: torch.Tensor, like: torch.Tensor, bands: Sequence[str], weight_bands: Sequence[str], origin: str
) -> torch.Tensor:
    if value.shape[1] != len(weight_bands) or value.shape[0] != like.shape[0] or value.shape[2:] != like.shape[2:]:
        raise WeightsError(
            f"weights: {origin} has a first convolution {_size(value)}, which does not fit {_size(like)} with the bands"
            f" {', '.join(weight_bands)}"
        )
    if not set(bands) & set(weight_bands):
        raise WeightsError(
            f"weights: {origin} was trained on the bands {', '.join(weight_bands)}, of which the data have none"
            f" (they have {', '.join(bands)}); weights.bands=[...] says which bands a file expects"
        )
    mapped = torch.zeros_like(like)
    for position, band in enumerate(bands):
        if band in weight_bands:
            mapped[:, position] = value[:, list(weight_bands).index(band)]
    return mapped


def _size(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _short(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
