"""Statistics of each band of the train split: counted where values can be, merged from chunks elsewhere."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]

SAMPLED = 10_000_000
"""How many values of a band the percentiles of floating-point images rest on, at most."""

_CHUNK = 1 << 20  # values that are looked at together


@dataclass(frozen=True)
class BandStatistics:
    """One number a band, in the source's own numbers, over all pixels of the train split."""

    mean: list[float]
    std: list[float]
    min: list[float]
    max: list[float]
    p2: list[float]
    """2nd percentile."""
    p98: list[float]
    """98th percentile."""


def statistics_of(images: Array, sampled: int = SAMPLED) -> BandStatistics:
    """Statistics of each band over all pixels, read once; percentiles as `numpy.percentile` has them (linear).

    All are exact for integers of up to 16 bits, whose values are counted. For others the percentiles rest on every k-th
    value of a band, with k the smallest that leaves at most `sampled` values and shares no factor with the pixels of an
    image, so that all columns and rows are met equally often.

    Args:
        images: N,C,H,W, such as a memory map: read in chunks.
        sampled: values of a band, at most, that are kept where they cannot be counted.
    """
    if _countable(images):
        low = int(np.iinfo(images.dtype).min)
        counts = _counts(images, low)
        values = np.arange(low, low + counts.shape[1])
        mean = (counts @ values) / _pixels(images)
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / _pixels(images)
        present = counts > 0
        least, most = low + present.argmax(axis=1), values[-1] - present[:, ::-1].argmax(axis=1)
        p2, p98 = _percentiles_of_counts(counts, low, (2, 98))
        return BandStatistics(
            *(found.astype(float).tolist() for found in (mean, np.sqrt(variance), least, most, p2, p98))
        )
    moments = _Moments()
    p2, p98 = np.percentile(_every(images, _step(images, sampled), moments.add), (2, 98), axis=1)
    return BandStatistics(**moments.result(), p2=p2.tolist(), p98=p98.tolist())


class _Moments:
    """Per-band mean and standard deviation over chunks, merged as Chan et al. 1979 do; minimum and maximum."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Array | float = 0.0
        self._squares: Array | float = 0.0
        self._low: Array | None = None
        self._high: Array | None = None

    def add(self, images: Array) -> None:
        """Take in images, N,C,H,W."""
        axes = (0, 2, 3)
        count = images.size // images.shape[1]
        mean = images.mean(axis=axes, dtype=np.float64)
        squares = images.var(axis=axes, dtype=np.float64) * count
        low, high = images.min(axis=axes), images.max(axis=axes)
        delta = mean - self._mean
        total = self._count + count
        self._mean = self._mean + delta * count / total
        self._squares = self._squares + squares + delta**2 * self._count * count / total
        self._count = total
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    def result(self) -> dict[str, list[float]]:
        """Statistics per band, in the source's own numbers."""
        assert self._low is not None
        assert self._high is not None
        return {
            "mean": np.asarray(self._mean).tolist(),
            "std": np.sqrt(np.asarray(self._squares) / self._count).tolist(),
            "min": self._low.astype(float).tolist(),
            "max": self._high.astype(float).tolist(),
        }


def _countable(images: Array) -> bool:
    return images.dtype.kind in "iu" and images.dtype.itemsize <= 2


def _pixels(images: Array) -> int:
    return images.shape[0] * images.shape[2] * images.shape[3]


def _chunks(images: Array) -> Iterator[Array]:
    """Some images at a time."""
    together = max(1, _CHUNK // images[0].size)
    return (images[start : start + together] for start in range(0, len(images), together))


def _counts(images: Array, low: int) -> npt.NDArray[np.int64]:
    """C,V: how often each value stands in each band."""
    values = int(np.iinfo(images.dtype).max) - low + 1
    counts = np.zeros((images.shape[1], values), dtype=np.int64)
    for chunk in _chunks(images):
        for band in range(images.shape[1]):
            found = np.bincount(chunk[:, band].ravel().astype(np.int64) - low)
            counts[band, : len(found)] += found
    return counts


def _percentiles_of_counts(
    counts: npt.NDArray[np.int64], low: int, percents: Sequence[float]
) -> npt.NDArray[np.float64]:
    ranks = counts.cumsum(axis=1)
    return np.stack([_percentile_of_ranks(ranks, low, percent) for percent in percents])


def _percentile_of_ranks(ranks: npt.NDArray[np.int64], low: int, percent: float) -> npt.NDArray[np.float64]:
    position = percent / 100 * (int(ranks[0, -1]) - 1)
    below, above = math.floor(position), math.ceil(position)
    first, second = ((ranks <= rank).sum(axis=1) + low for rank in (below, above))
    return first + (second - first) * (position - below)


def _step(images: Array, sampled: int) -> int:
    step = -(-_pixels(images) // sampled)
    while math.gcd(step, images.shape[2] * images.shape[3]) > 1:
        step += 1
    return step


def _every(images: Array, step: int, also: Callable[[Array], None] = lambda _: None) -> Array:
    """C,S: every `step`-th value of each band. `also` is called with each chunk that is read."""
    found, passed = [], 0
    for chunk in _chunks(images):
        also(chunk)
        flat = chunk.transpose(1, 0, 2, 3).reshape(chunk.shape[1], -1)
        found.append(flat[:, -passed % step :: step].copy())  # not a view of all of it
        passed += flat.shape[1]
    return np.concatenate(found, axis=1)
