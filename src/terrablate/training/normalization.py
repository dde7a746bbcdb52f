"""What each band is centred on and divided by: which statistics `data.normalize` chooses, told for the record."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from terrablate.config.checks.weights import check_imagenet_bands
from terrablate.config.schema import Data
from terrablate.data.statistics import BandStatistics
from terrablate.models.band_names import RGB, canonical
from terrablate.models.weight_statistics import IMAGENET, WeightStatistics

logger = logging.getLogger(__name__)

type Kind = Literal["weights", "dataset", "imagenet", "minmax", "percentile", "none"]


@dataclass(frozen=True)
class Normalization:
    """The standardisation of a run: (stored - center) / spread, per band, in stored numbers."""

    kind: Kind
    """What was chosen; `auto` has become `weights` or `dataset`."""
    bands: list[str]
    center: list[float] | None
    """None for no standardisation."""
    spread: list[float] | None
    origin: list[str]
    """Whose statistics each band has: those of the kind, or `dataset` for a band of which that says nothing."""

    def plain(self) -> dict[str, Any]:
        """As it stands in the record."""
        return asdict(self)


def choose_normalization(
    data: Data, bands: Sequence[str], statistics: BandStatistics, weights: WeightStatistics | None
) -> Normalization:
    """Choose centre and spread of each band as `data.normalize` says.

    - `dataset`: mean and standard deviation of the train split.
    - `minmax`: its minimum and range, so that it lies in 0 to 1.
    - `percentile`: its 2nd percentile and the distance to the 98th, so that most of it lies in 0 to 1; not clipped.
    - `imagenet`: ImageNet's for red, green and blue, on the values that `data.scale` gives; the train split's mean and
      deviation for other bands.
    - `none`: nothing.
    - `auto`: those under which the pretrained weights were trained, if they are known and mean the same quantity as the
      data, else `dataset`. Bands that the weights do not know take the train split's.

    Args:
        data: of the config.
        bands: names of the data's bands, in order.
        statistics: of the train split, in stored numbers.
        weights: the standardisation that the pretrained weights expect, if there are some and it is known.

    Raises:
        ConfigError: for `imagenet` if no band is red, green or blue.
    """
    names = list(bands)
    match data.normalize:
        case "none":
            return Normalization("none", names, None, None, ["none"] * len(names))
        case "minmax":
            return _between("minmax", names, statistics.min, statistics.max)
        case "percentile":
            return _between("percentile", names, statistics.p2, statistics.p98)
        case "imagenet":
            check_imagenet_bands(names, data.rgb)
            known = {band: (mean, std) for band, mean, std in zip(RGB, IMAGENET.mean, IMAGENET.std, strict=True)}
            return _known_else_dataset("imagenet", data, names, statistics, known)
        case "auto" if weights is not None:
            scaled = weights.scaled(data.scale) or {}
            if set(canonical(names, data.rgb)) & set(scaled):
                return _known_else_dataset("weights", data, names, statistics, scaled)
            logger.info(
                "data.normalize=auto: the weights were trained on other bands or other numbers than the data have"
                " (data.scale=%g); the train split's statistics are taken",
                data.scale,
            )
    return _known_else_dataset("dataset", data, names, statistics, {})


def _between(kind: Kind, bands: list[str], low: Sequence[float], high: Sequence[float]) -> Normalization:
    spread = [above - below for below, above in zip(low, high, strict=True)]
    return Normalization(kind, bands, list(low), spread, [kind] * len(bands))


def _known_else_dataset(
    kind: Kind, data: Data, bands: list[str], statistics: BandStatistics, known: Mapping[str, tuple[float, float]]
) -> Normalization:
    """Centre and spread from those of values after scaling, by canonical band name; else the train split's."""
    center, spread, origin = list(statistics.mean), list(statistics.std), ["dataset"] * len(bands)
    for position, name in enumerate(canonical(bands, data.rgb)):
        if name in known:
            mean, std = known[name]
            center[position], spread[position] = mean * data.scale - data.offset, std * data.scale
            origin[position] = kind
    return Normalization(kind, bands, center, spread, origin)
