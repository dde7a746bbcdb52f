"""Subsets of images with several labels: a stratified sample, label budgets. Pure functions of labels and a seed."""

import numpy as np
import numpy.typing as npt

from terrablate.data.source import Labels
from terrablate.random_streams import numpy_stream

type Indices = npt.NDArray[np.int64]


_EXCHANGES = 200
"""At most so many; a few are enough for what the greedy choice leaves."""


def stratified_labels(labels: Labels, size: int, seed: int, stream: str) -> Indices:
    """`size` images in which each class is as frequent as in `labels`, as nearly as whole images allow; all if fewer.

    Images with the same set of labels are alike here. Of each set the whole part of its share is taken, as in a
    stratification by label sets; the images that are then missing come from the sets with a remainder, one after the
    other the one that brings the class frequencies nearest to their shares, which is what iterative stratification
    does for sets that are too rare to be divided (both Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of
    Multi-Label Data"). Then pairs are exchanged as long as that helps. Every class is represented as long as `size` is
    at least the number of classes that occur. Which images of a set are taken is drawn.

    Args:
        labels: N,K.
        size: images to take.
        seed: draws which.
        stream: name of the random stream.

    Returns:
        Sorted indices.
    """
    count = len(labels)
    if size >= count:
        return np.arange(count)
    generator = numpy_stream(seed, stream)
    sets, which, images = np.unique(labels.astype(bool), axis=0, return_inverse=True, return_counts=True)
    order = generator.permutation(len(sets))  # decides between sets that fit equally well
    taken = np.empty(len(sets), np.int64)
    taken[order] = _shares_of_sets(sets[order].astype(np.float64), images[order], size)
    if size >= sets.any(0).sum():
        for label in np.flatnonzero(sets.any(0)):
            _bring_in(sets, taken, int(label))
    shuffled = generator.permutation(count)
    by_set = np.split(shuffled[np.argsort(which[shuffled], kind="stable")], np.cumsum(images)[:-1])
    return np.sort(np.concatenate([members[:take] for members, take in zip(by_set, taken, strict=True)]))


def _shares_of_sets(sets: npt.NDArray[np.float64], images: Indices, size: int) -> Indices:
    """How many of the images, S, of each of S sets, S,K, to take: about their share, and `size` together."""
    exact = images * (size / images.sum())
    taken = np.floor(exact + 1e-9).astype(np.int64)
    most = np.ceil(exact - 1e-9).astype(np.int64)
    fewest, most_exchanged = np.maximum(taken - 1, 0), np.minimum(most + 1, images)
    lacking = (exact - taken) @ sets  # of each class; its squares, added up, are to be small
    while taken.sum() < size:
        gain = np.where(taken < most, sets @ (2 * lacking - 1), -np.inf)
        best = int(gain.argmax())
        taken[best] += 1
        lacking -= sets[best]
    for _ in range(_EXCHANGES):
        out, into = np.flatnonzero(taken > fewest), np.flatnonzero(taken < most_exchanged)
        if not len(out) or not len(into):
            break
        leaving, coming = sets[out], sets[into]
        gain = (-leaving @ (2 * lacking + 1))[:, None] + coming @ (2 * lacking - 1) + 2 * leaving @ coming.T
        first, second = np.unravel_index(gain.argmax(), gain.shape)
        if gain[first, second] <= 1e-9:
            break
        taken[out[first]] -= 1
        taken[into[second]] += 1
        lacking += leaving[first] - coming[second]
    return taken


def _bring_in(sets: npt.NDArray[np.bool_], taken: Indices, label: int) -> None:
    """Where a class has no image, exchange one that no other class needs for one of it."""
    counts = taken @ sets
    if counts[label]:
        return
    spare = np.flatnonzero((taken > 0) & ~(sets & (counts == 1)).any(1))
    taken[spare[taken[spare].argmax()]] -= 1
    taken[np.flatnonzero(sets[:, label])[0]] += 1


def at_least_per_class(labels: Labels, count: int, seed: int, stream: str) -> Indices:
    """Images of which each class has `count` or more, or all that show it, as sorted indices.

    In rounds: in round r each class of which fewer than r images are chosen, the rarest first, gets the next image of
    its own random order. An image counts for all its classes, so that common ones end with more than `count`; images
    without any label are never chosen. Nested: with one seed the 50 of a class contain the 20.

    Args:
        labels: N,K.
        count: images a class.
        seed: draws which.
        stream: name of the random stream.
    """
    shows = labels.astype(bool)
    available = shows.sum(0)
    classes = [int(label) for label in np.argsort(available, kind="stable") if available[label]]
    orders = {
        label: iter(numpy_stream(seed, stream, label).permutation(np.flatnonzero(shows[:, label]))) for label in classes
    }
    chosen = np.zeros(len(labels), bool)
    reached = np.zeros(shows.shape[1], int)
    for wanted in range(1, count + 1):
        for label in classes:
            if reached[label] >= min(wanted, available[label]):
                continue
            image = next(each for each in orders[label] if not chosen[each])
            chosen[image] = True
            reached += shows[image]
    return np.flatnonzero(chosen)
