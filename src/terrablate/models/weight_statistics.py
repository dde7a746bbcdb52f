"""The standardisation under which weights were trained: centre and spread per band, and the numbers they are in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from terrablate.models.band_names import RGB

type Unit = Literal["bytes", "numbers", "decibels", "scaled"]
"""Of statistics: `bytes` on 0 to 1, that is divided by 255; `numbers` the digital numbers of a 16-bit sensor;
`decibels` of radar; `scaled` the values of the data after `data.scale`, whatever they are."""

_BYTE = 255.0


@dataclass(frozen=True)
class WeightStatistics:
    """What the values of each band were centred on and divided by when the weights were trained."""

    bands: tuple[str, ...]
    """Canonical names."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unit: Unit

    def scaled(self, scale: float) -> dict[str, tuple[float, float]] | None:
        """Centre and spread by band of the values (stored + offset) / scale; None where those are other quantities.

        Bytes speak of data of bytes only (`data.scale=255`), digital numbers of data of such numbers (a scale above
        255): reflectance / 10,000 is not on the scale of a photograph, though both lie mostly between 0 and 1.
        """
        means_the_same = {
            "bytes": scale == _BYTE,
            "numbers": scale > _BYTE,
            "decibels": scale < _BYTE,
            "scaled": True,
        }
        if not means_the_same[self.unit]:
            return None
        divisor = scale if self.unit == "numbers" else 1.0
        return {
            band: (mean / divisor, std / divisor)
            for band, mean, std in zip(self.bands, self.mean, self.std, strict=True)
        }


IMAGENET = WeightStatistics(RGB, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bytes")
"""As torchvision has them."""


def of_transforms(transforms: object, bands: Sequence[str]) -> WeightStatistics | None:
    """Statistics that the transforms of weights of torchgeo carry.

    Several normalisations in a row are one: (x - m) / s, then (y - m') / s', is (x - (m + s m')) / (s s').

    Args:
        transforms: of the weights; those that are no module tell nothing.
        bands: canonical names of the weights' bands.

    Returns:
        None if there are none, or if it cannot be told which numbers they are of.
    """
    mean, std = [0.0] * len(bands), [1.0] * len(bands)
    found = _layers(transforms, "Normalize")
    for layer in found:
        their_mean, their_std = (_each(values, len(bands)) for values in (layer.mean, layer.std))
        if their_mean is None or their_std is None:
            return None
        mean = [m + s * m2 for m, s, m2 in zip(mean, std, their_mean, strict=True)]
        std = [s * s2 for s, s2 in zip(std, their_std, strict=True)]
    unit = _unit(mean, std) if found else None
    if unit is None:
        return None
    in_bytes = unit == "bytes" and not _on_unit_scale(mean, std)
    divisor = _BYTE if in_bytes else 1.0
    return WeightStatistics(tuple(bands), tuple(m / divisor for m in mean), tuple(s / divisor for s in std), unit)


def size_of_transforms(transforms: object) -> int | None:
    """Side in pixels that the transforms of weights of torchgeo give an image, if they do."""
    found = _layers(transforms, "Resize", "CenterCrop")
    return int(found[-1].size[-1]) if found else None


def _layers(transforms: object, *kinds: str) -> list[Any]:
    """Those of some kinds, in order. By name: torchvision and kornia both have a `Normalize`, with the same keys."""
    if not isinstance(transforms, nn.Module):
        return []
    return [layer for layer in transforms.modules() if type(layer).__name__ in kinds]


def _each(values: Sequence[float], count: int) -> list[float] | None:
    """One value a band, where there may be one for all."""
    if len(values) not in (1, count):
        return None
    return [float(value) for value in values] * (count if len(values) == 1 else 1)


def _unit(mean: Sequence[float], std: Sequence[float]) -> Unit | None:
    """What kind of numbers have such statistics."""
    if min(mean) < 0:
        return "decibels"
    if _on_unit_scale(mean, std):
        return "bytes"
    if min(std) < 1:  # SeCo's, which torchgeo multiplies by 255 once more than SeCo itself
        return None
    if max(std) <= _BYTE:
        return "bytes"
    mixed = any(m == 0 and s == _BYTE for m, s in zip(mean, std, strict=True))  # Satlas: bytes for RGB, numbers else
    return None if mixed else "numbers"


def _on_unit_scale(mean: Sequence[float], std: Sequence[float]) -> bool:
    return max(mean) <= 1 and max(std) <= 1
