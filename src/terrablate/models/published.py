"""Weights that timm, torchvision and torchgeo publish: downloaded and cached by them, or read from a file on disk."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from terrablate.config.schema import ImagenetWeights, TimmModel, TorchgeoWeights, TorchvisionModel
from terrablate.errors import UserError, WeightsError
from terrablate.models.band_names import RGB, canonical_of_torchgeo
from terrablate.models.build import first_line, timm_network
from terrablate.models.weight_files import State, named_tensors, read_state
from terrablate.models.weight_statistics import WeightStatistics, of_transforms, size_of_transforms

_TRANSFORMS_INPUT = ("googlenet", "inception_v3")
"""Networks of torchvision whose weights were trained on 2 x - 1; with `transform_input` they take ImageNet's inputs."""
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
"""Names such as norm.1 in torchvision's files of DenseNet, which its own loader turns into norm1."""


@dataclass(frozen=True)
class Published:
    """Published weights and what their publisher says of them."""

    name: str
    state: State
    bands: tuple[str, ...] | None
    """Canonical names of the bands that they expect, in order; None if the publisher does not say."""
    statistics: WeightStatistics | None
    trained_size: int | None
    """Side in pixels of the images that they were trained, or are best used, on."""


def timm_weights(weights: ImagenetWeights, model: TimmModel, image_size: int) -> Published:
    """The weights that timm publishes for a network, or those of `weights.file`.

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
        raise _unobtainable("weights=imagenet", model.timm_name, weights.file, error) from error
    told: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]  # torch's modules type it as a module
    name = f"timm's {told['architecture']}.{told['tag']}"
    statistics = WeightStatistics(RGB, tuple(told["mean"]), tuple(told["std"]), "bytes")
    return Published(name, network.state_dict(), RGB, statistics, int(told["input_size"][-1]))


def torchvision_weights(weights: ImagenetWeights, model: TorchvisionModel) -> Published:
    """The weights that torchvision publishes for a network, or those of `weights.file`.

    Raises:
        WeightsError: if they cannot be downloaded or read.
    """
    from torchvision.models import get_model_weights

    name = model.torchvision_name
    member = get_model_weights(name)[weights.tag or "DEFAULT"]
    preset = member.transforms()
    state = _state(member, "weights=imagenet", f"{name}.{member.name}", weights.file)
    state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    mean, std = tuple(preset.mean), tuple(preset.std)
    if name in _TRANSFORMS_INPUT and not model.kwargs.get("transform_input", False):
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    statistics = WeightStatistics(RGB, mean, std, "bytes")
    return Published(f"torchvision's {name}.{member.name}", state, RGB, statistics, int(preset.crop_size[-1]))


def torchgeo_weights(weights: TorchgeoWeights, data_bands: Sequence[str] | None) -> Published:
    """The weights of torchgeo by name, or those of `weights.file`, which are then taken for these.

    Args:
        weights: enum and member in `weight`, and the file.
        data_bands: all band names of the data's sensor, as far as the config knows them.

    Raises:
        WeightsError: if they cannot be downloaded or read.
    """
    import torchgeo.models

    kind, _, name = weights.weight.partition(".")
    member = getattr(torchgeo.models, kind)[name]
    state = _state(member, "weights=torchgeo", weights.weight, weights.file)
    named = member.meta.get("bands") or (RGB if member.meta.get("in_chans") == len(RGB) else None)
    bands = tuple(canonical_of_torchgeo(weights.weight, named, data_bands)) if named else None
    return Published(
        f"torchgeo's {weights.weight}",
        state,
        bands,
        of_transforms(member.transforms, bands) if bands else None,
        size_of_transforms(member.transforms),
    )


def _state(member: Any, choice: str, name: str, file: str | None) -> State:
    """Tensors of a weights enum's member, of torchvision or torchgeo, never running code from them."""
    if file is not None:
        return read_state(Path(file))
    try:
        content = member.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # a download and torch's reader fail in many ways
        raise _unobtainable(choice, name, None, error) from error
    return named_tensors(content, name)


def _unobtainable(choice: str, name: str, file: str | None, error: Exception) -> WeightsError:
    where = file or "the network; weights.file=... takes a file that is already on disk"
    return WeightsError(f"{choice}: cannot get the weights of {name} from {where}: {first_line(error)}")
