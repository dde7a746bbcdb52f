"""Which images of a packed split a run uses: label budgets and the probe. Pure functions of labels and a seed."""

import numpy as np
import numpy.typing as npt

from terrablate.random_streams import numpy_stream

type Indices = npt.NDArray[np.int64]


def per_class(labels: npt.NDArray[np.int64], count: int | npt.NDArray[np.int64], seed: int, stream: str) -> Indices:
    """At most `count` images of each class, as sorted indices.

    Nested: with one seed the 50 of a class contain the 20, because each class is shuffled once and cut.

    Args:
        labels: N.
        count: images a class, one number for all or K numbers; a class that has fewer gives all.
        seed: draws which.
        stream: name of the random stream.
    """
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        most = count if isinstance(count, int) else int(count[label])
        chosen.append(numpy_stream(seed, stream, int(label)).permutation(members)[:most])
    return np.sort(np.concatenate(chosen))


def stratified_sample(labels: npt.NDArray[np.int64], size: int, seed: int, stream: str) -> Indices:
    """`size` images with the class proportions of `labels` (largest remainders), as sorted indices; all if fewer.

    Every class is represented as long as `size` is at least the number of classes.
    """
    if size >= len(labels):
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * size / counts.sum()
    quota = np.floor(shares).astype(int)
    if size >= len(classes):
        quota = np.maximum(quota, 1)
    while quota.sum() > size:
        quota[np.argmax(np.where(quota > 1, quota - shares, -np.inf))] -= 1
    order = np.argsort(-(shares - quota), kind="stable")
    for position in order:
        if quota.sum() == size:
            break
        quota[position] += 1
    chosen = [
        numpy_stream(seed, stream, int(label)).permutation(np.flatnonzero(labels == label))[:take]
        for label, take in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
