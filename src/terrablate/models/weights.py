"""Pretrained weights into a network: by name, the first convolution by band, and a report of what became of them."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from terrablate.config.schema.network import Stem
from terrablate.errors import WeightsError
from terrablate.models.band_names import RGB
from terrablate.models.build import Built
from terrablate.models.heads import classifiers
from terrablate.models.stem_bands import adapt_stem, stem_name
from terrablate.models.weight_files import State

logger = logging.getLogger(__name__)

_PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "backbone.", "encoder.")
_RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")


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
    lost_statistics: list[str] = field(default_factory=list)
    """Normalisation layers whose running statistics stand only in the weights, or only in the network."""
    lost_affine: list[str] = field(default_factory=list)
    """Normalisation layers whose scales and shifts find no place."""
    trained_size: int | None = None
    """Side in pixels of the images that the weights were trained on, where it is known."""

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


def load_weights(
    built: Built,
    state: State,
    *,
    origin: str,
    bands: Sequence[str],
    weight_bands: Sequence[str] | None,
    stem: Stem,
    partial: bool,
    keeps_head: bool,
    trained_size: int | None = None,
) -> LoadReport:
    """Fill a network with weights, in place.

    The first convolution is fitted to other bands as `stem` says. The head stays as initialised unless it is asked for:
    ten classes of one task are not ten of another. Names may carry the prefixes of usual wrappers. Running statistics
    that only one side has, after another normalisation was put into the network, are reported with a warning and are no
    error.

    Args:
        built: the network after surgery.
        state: tensors by name.
        origin: where they come from, for messages.
        bands: canonical names of the data's bands, in order.
        weight_bands: canonical names of the bands that the weights expect, in order; None if unknown.
        stem: how the first convolution is fitted.
        partial: accept weights that do not fill the whole backbone.
        keeps_head: load the head, too; the weights were trained on the same classes in the same order.
        trained_size: side in pixels of the images that they were trained on, if known.

    Raises:
        WeightsError: if shapes differ, no band is shared, or less than the backbone is filled.
    """
    own = built.network.state_dict()
    state = without_prefixes(state, own)
    report = LoadReport(origin, trained_size=trained_size)
    head_prefixes = _head_prefixes(built.network)
    head = {name for name in own if name.startswith(head_prefixes)}
    first = stem_name(built.network)
    if stem != "map" and first not in state:
        raise WeightsError(f"weights.stem={stem}: {origin} and the network share no first convolution; use map")
    filled: State = {}
    wrong: list[str] = []
    for name, value in state.items():
        if name not in own:
            report.left_out.append(name)
        elif name == first and _same_but_bands(value, own[name]):
            fitted, how = adapt_stem(value, own[name], stem=stem, bands=bands, weight_bands=weight_bands, origin=origin)
            if fitted is not None:
                filled[name] = fitted
            if how is not None:
                report.adapted[name] = how
        elif name == first and value.shape[0] == own[name].shape[0] and value.ndim == own[name].ndim:
            _check_other_kernel(value, own[name], stem, origin, partial)
            report.left_out.append(name)
            report.adapted[name] = "left as initialised (its kernel has another size)"
        elif name in head and not keeps_head:
            report.left_out.append(name)
        elif value.shape == own[name].shape:
            filled[name] = value
        else:
            wrong.append(f"{name} {_size(value)} instead of {_size(own[name])}")
    if wrong:
        size = f"; they were trained on images of {trained_size} pixels a side" if trained_size else ""
        raise WeightsError(f"weights: {origin} does not fit the network: {_short(wrong)}{size}")
    report.loaded = len(filled)
    report.initialised = sorted(_without_counters(own) - set(filled))
    _check_complete(built, report, head | set(report.adapted), partial)
    _note_lost_normalisation(built, state, head_prefixes, report)
    built.network.load_state_dict(filled, strict=False)
    logger.info("weights: %s", report.sentence())
    return report


def file_bands(given: list[str] | None, bands: Sequence[str], state: State, network: nn.Module) -> list[str] | None:
    """The bands that the weights of a file expect, as far as the config or the first convolution tells.

    Args:
        given: `weights.bands`.
        bands: of the data.
        state: of the file.
        network: that it is for.
    """
    if given is not None:
        return given
    stem = without_prefixes(state, network.state_dict()).get(stem_name(network) or "")
    if stem is not None and stem.shape[1] == len(RGB):
        return list(RGB)
    return list(bands) if stem is not None and stem.shape[1] == len(bands) else None


def without_prefixes(state: State, own: State) -> State:
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


def _same_but_bands(value: torch.Tensor, like: torch.Tensor) -> bool:
    return value.ndim == like.ndim and value.shape[0] == like.shape[0] and value.shape[2:] == like.shape[2:]


def _check_other_kernel(value: torch.Tensor, like: torch.Tensor, stem: Stem, origin: str, partial: bool) -> None:
    if stem == "random" or (stem == "map" and partial):
        return
    theirs, ours = (_size(filters[0, 0]) for filters in (value, like))
    raise WeightsError(
        f"weights.stem={stem}: {origin} has a first convolution of {theirs} and the network one of {ours}; use"
        " model.stem=native, or leave it as initialised with weights.stem=random (or map and weights.partial=true)"
    )


def _check_complete(built: Built, report: LoadReport, settled: set[str], partial: bool) -> None:
    backbone = _without_counters(built.network.state_dict()) & built.native_keys - settled
    missing = sorted(backbone & set(report.initialised))
    if report.loaded == 0 or (missing and not partial):
        filled = len(backbone) - len(missing)
        raise WeightsError(
            f"weights: {report.origin} fills {filled} of the {len(backbone)} tensors of the backbone, not"
            f" {_short(missing)}; are they of another network? weights.partial=true accepts a part"
        )


def _note_lost_normalisation(built: Built, state: State, head: tuple[str, ...], report: LoadReport) -> None:
    """Tell which layers lose statistics or affine parameters because their normalisation was exchanged."""
    own = built.network.state_dict()
    layers = {name for name, _ in built.network.named_modules() if name}
    dropped = {
        name
        for name in state
        if name not in own
        and not name.startswith(head)
        and (name in built.native_keys or _parent(_parent(name)) in layers)  # the latter: of a run with norm=batch
    }
    ended = {_parent(name) for name in dropped if name.endswith(_RUNNING)}
    begun = {
        _parent(name) for name in own if name.endswith(_RUNNING) and name not in built.native_keys and name not in state
    }
    report.lost_statistics = sorted(ended | begun)
    report.lost_affine = sorted({_parent(name) for name in dropped & built.native_keys if not name.endswith(_RUNNING)})
    for lost, what in (
        (ended, "the running statistics of {} normalisation layers are lost"),
        (begun, "{} normalisation layers start without running statistics of their own"),
        (report.lost_affine, "the scales and shifts of {} normalisation layers are lost"),
    ):
        if lost:
            told = what.format(len(lost))
            logger.warning("weights: %s, because norm=... exchanged them; the pretrained features change", told)


def _without_counters(state: State) -> set[str]:
    """Names but for the counts of batches, which old weights lack and nothing needs."""
    return {name for name in state if not name.endswith("num_batches_tracked")}


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _head_prefixes(network: nn.Module) -> tuple[str, ...]:
    heads = classifiers(network)
    return tuple(f"{name}." for name, layer in network.named_modules() if name and any(layer is it for it in heads))


def _size(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _short(names: Iterable[str], most: int = 4) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
