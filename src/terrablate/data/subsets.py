"""Which images of a packed split a run uses: label budgets and the probe. Pure functions of labels and a seed.

Labels are class numbers, N, or of several labels an image zeros and ones, N,K.
"""

import numpy as np
import numpy.typing as npt

from terrablate.data.source import Labels
from terrablate.data.stratification import at_least_per_class, stratified_labels
from terrablate.random_streams import numpy_stream

type Indices = npt.NDArray[np.int64]


def count_classes(labels: Labels, num_classes: int) -> npt.NDArray[np.int64]:
    """Images of each class, K; an image with several labels counts for each of them."""
    if labels.ndim == 2:
        return labels.sum(0, dtype=np.int64)
    return np.bincount(labels, minlength=num_classes)


def per_class(labels: Labels, count: int | npt.NDArray[np.int64], seed: int, stream: str) -> Indices:
    """At most `count` images of each class, as sorted indices; of several labels at least so many.

    Nested: with one seed the 50 of a class contain the 20, because each class is shuffled once and cut.

    Args:
        labels: N; or N,K, for which see `at_least_per_class`, with one number for all classes.
        count: images a class, one number for all or K numbers; a class that has fewer gives all.
        seed: draws which.
        stream: name of the random stream.
    """
    if labels.ndim == 2:
        assert isinstance(count, int)
        return at_least_per_class(labels, count, seed, stream)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        most = count if isinstance(count, int) else int(count[label])
        chosen.append(numpy_stream(seed, stream, int(label)).permutation(members)[:most])
    return np.sort(np.concatenate(chosen))


def stratified_sample(labels: Labels, size: int, seed: int, stream: str) -> Indices:
    """`size` images with the class proportions of `labels` (largest remainders), as sorted indices; all if fewer.

    Every class is represented as long as `size` is at least the number of classes. Several labels an image cannot have
    exact proportions: see `stratified_labels`.
    """
    if labels.ndim == 2:
        return stratified_labels(labels, size, seed, stream)
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
