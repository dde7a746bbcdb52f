"""Per-image statistics of each band: what a classical classifier sees of a chip."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from terrablate.data.subsets import Indices

if TYPE_CHECKING:
    from terrablate.data.paging import PagedImages

PERCENTILES = (5, 25, 50, 75, 95)
VERSION = 1
"""Of what is computed here; to be raised when it changes, since it is kept beside packs."""

PER_BAND = 2 + len(PERCENTILES)
"""Mean, standard deviation and the percentiles."""

_VALUES_AT_ONCE = 1 << 21  # 16 MiB a thread as float64: small enough for any machine, large enough to hide the loop


def image_statistics(
    images: "npt.NDArray[Any] | PagedImages", rows: Indices, threads: int = 1
) -> npt.NDArray[np.float64]:
    """Mean, population standard deviation and percentiles of each band of each image, as numpy computes them.

    Reads a memory-mapped array piece by piece, and gives the same numbers for any number of threads.

    Args:
        images: N,C,H,W of any real type, finite.
        rows: which images, n; best sorted, since they are read in this order.
        threads: that share the work.

    Returns:
        n,C*7 in the numbers of the images: the statistics of the first band, then those of the second, ...
    """
    bands = images.shape[1]
    size = max(1, _VALUES_AT_ONCE // math.prod(images.shape[1:]))
    found = np.empty((len(rows), bands * PER_BAND))

    def compute(start: int) -> None:
        chosen = images[rows[start : start + size]]
        found[start : start + size] = _statistics(chosen.reshape(len(chosen) * bands, -1)).reshape(len(chosen), -1)

    with ThreadPoolExecutor(threads) as pool:  # numpy's sorting and adding release Python's lock
        for _ in pool.map(compute, range(0, len(rows), size)):
            pass  # only to raise what a thread raised
    return found


def _statistics(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Of each row of M,P values: M,7."""
    # numpy's stable sort of short integers is a radix sort: ten times as fast as its percentiles
    short = values.dtype.kind in "iu" and values.dtype.itemsize <= 2
    ordered = np.sort(values, axis=1, kind="stable" if short else None)
    places = np.asarray(PERCENTILES) / 100 * (values.shape[1] - 1)
    below = np.floor(places).astype(np.int64)
    lower = ordered[:, below].astype(np.float64)
    upper = ordered[:, np.minimum(below + 1, values.shape[1] - 1)].astype(np.float64)
    centred = values.astype(np.float64)
    mean = centred.mean(axis=1)
    centred -= mean[:, None]
    std = np.sqrt(np.einsum("ij,ij->i", centred, centred) / values.shape[1])
    return np.column_stack([mean, std, lower + (upper - lower) * (places - below)])
