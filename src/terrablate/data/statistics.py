"""Statistics of each band of the train split: moments while images are packed, percentiles of what was packed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]

SAMPLED = 10_000_000
"""How many values of a band the percentiles of floating-point images rest on, at most."""

_CHUNK = 64  # images that are looked at together


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


class Moments:
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


def percentiles(images: Array, percents: Sequence[float], sampled: int = SAMPLED) -> npt.NDArray[np.float64]:
    """Percentiles of each band over all pixels, as `numpy.percentile` defines them (linear between values).

    Exact for integers of up to 16 bits, whose values are counted. For others they rest on every k-th value of a band,
    with k the smallest that leaves at most `sampled` values and shares no factor with the pixels of an image, so that
    all columns and rows are met equally often.

    Args:
        images: N,C,H,W, such as a memory map: read in chunks.
        percents: 0 to 100.
        sampled: values of a band, at most, that are kept where they cannot be counted.

    Returns:
        P,C
    """
    count = images.shape[0] * images.shape[2] * images.shape[3]
    if images.dtype.kind in "iu" and images.dtype.itemsize <= 2:
        low = int(np.iinfo(images.dtype).min)
        counts = _counts(images, low)
        return np.stack([_percentile_of_counts(counts, low, count, percent) for percent in percents])
    step = -(-count // sampled)
    while math.gcd(step, images.shape[2] * images.shape[3]) > 1:
        step += 1
    return np.percentile(_every(images, step), list(percents), axis=1)


def _counts(images: Array, low: int) -> npt.NDArray[np.int64]:
    """C,V: how often each value stands in each band."""
    values = int(np.iinfo(images.dtype).max) - low + 1
    counts = np.zeros((images.shape[1], values), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        for band in range(images.shape[1]):
            counts[band] += np.bincount(chunk[:, band].ravel().astype(np.int64) - low, minlength=values)
    return counts


def _percentile_of_counts(
    counts: npt.NDArray[np.int64], low: int, count: int, percent: float
) -> npt.NDArray[np.float64]:
    position = percent / 100 * (count - 1)
    below, above = math.floor(position), math.ceil(position)
    ranks = counts.cumsum(axis=1)
    first, second = ((ranks <= rank).sum(axis=1) + low for rank in (below, above))
    return first + (second - first) * (position - below)


def _every(images: Array, step: int) -> Array:
    """C,S: every `step`-th value of each band."""
    pixels = images.shape[2] * images.shape[3]
    found = []
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        flat = chunk.transpose(1, 0, 2, 3).reshape(chunk.shape[1], -1)
        found.append(flat[:, -start * pixels % step :: step])
    return np.concatenate(found, axis=1)
