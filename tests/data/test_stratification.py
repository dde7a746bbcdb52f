"""Subsets of images with several labels: how near a sample comes to the class frequencies, and budgets."""

import numpy as np
import pytest

from terrablate.data.stratification import at_least_per_class, stratified_labels
from terrablate.data.subsets import count_classes, per_class, stratified_sample


def drawn(count: int = 600, seed: int = 0) -> np.ndarray:
    """Labels of 12 classes, from half of the images to one in a hundred, which come together."""
    rng = np.random.default_rng(seed)
    frequencies = np.geomspace(0.5, 0.01, 12)
    kind = rng.random((count, 1))  # some images show much, others little
    return (rng.random((count, 12)) < frequencies * 2 * kind).astype(np.uint8)


@pytest.mark.parametrize("size", [60, 151, 300])
@pytest.mark.parametrize("seed", range(3))
def test_a_sample_has_the_class_frequencies_of_the_whole(size: int, seed: int) -> None:
    labels = drawn(seed=seed)
    chosen = stratified_labels(labels, size, seed, "probe")
    off = np.abs(labels[chosen].sum(0) - labels.sum(0) * size / len(labels))
    at_random = [
        np.abs(labels[np.random.default_rng(each).permutation(600)[:size]].sum(0) - labels.sum(0) * size / 600)
        for each in range(50)
    ]
    assert off.max() < 2
    assert off.mean() < 0.45 * np.mean(at_random)


@pytest.mark.parametrize("size", [1, 5, 12, 13, 40, 599, 600, 1000])
def test_a_sample_has_exactly_its_size_and_every_class_that_fits(size: int) -> None:
    labels = drawn()
    chosen = stratified_labels(labels, size, 0, "probe")
    assert len(chosen) == min(size, 600)
    assert (np.diff(chosen) > 0).all()  # sorted, none twice
    if size >= 12:
        assert labels[chosen].any(0).all()


def test_a_rare_class_is_brought_in() -> None:
    """The last class stands on three images, of sets that nothing else asks for."""
    labels = np.zeros((300, 4), np.uint8)
    labels[[0, 1], 0] = labels[[2, 3], 1] = labels[[4, 5], 2] = 1
    labels[[0, 2, 4], 3] = 1
    for seed in range(20):
        chosen = stratified_labels(labels, 4, seed, "probe")
        assert len(chosen) == 4
        assert labels[chosen].any(0).all()


def test_sets_of_labels_keep_their_proportions() -> None:
    """Two classes that never stand alone do not stand alone in the sample."""
    labels = np.repeat(np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1]], np.uint8), [50, 30, 20], axis=0)
    chosen = labels[stratified_labels(labels, 10, 0, "probe")]
    assert sorted(map(tuple, chosen.tolist())) == [(0, 0, 1)] * 3 + [(1, 1, 0)] * 5 + [(1, 1, 1)] * 2


def test_labels_of_which_each_image_has_one_are_divided_in_proportion() -> None:
    """Each share is 1.6: rounding all of them up would leave nothing for the last classes."""
    labels = np.eye(10, dtype=np.uint8)[np.arange(160) % 10]
    counts = labels[stratified_labels(labels, 16, 0, "probe")].sum(0)
    assert sorted(counts) == [1] * 4 + [2] * 6


def test_images_without_a_label_have_their_share() -> None:
    labels = np.zeros((100, 3), np.uint8)
    labels[:40, 0] = 1
    chosen = stratified_labels(labels, 20, 0, "probe")
    assert labels[chosen].any(1).sum() == 8
    assert len(chosen) == 20


def test_which_images_follow_seed_and_stream() -> None:
    labels = drawn()
    first = stratified_sample(labels, 50, 0, "probe").tolist()
    assert stratified_sample(labels, 50, 0, "probe").tolist() == first
    assert stratified_sample(labels, 50, 1, "probe").tolist() != first
    assert stratified_sample(labels, 50, 0, "debug").tolist() != first


def test_a_budget_gives_each_class_its_images_or_all_and_few_more() -> None:
    labels = drawn()
    chosen = per_class(labels, 15, 0, "train")
    counts, there = labels[chosen].sum(0), labels.sum(0)
    assert (counts >= np.minimum(there, 15)).all()
    assert there.min() < 15  # else it would not be tried
    assert len(chosen) < np.minimum(there, 15).sum()  # an image counts for all its classes
    assert labels[chosen].any(1).all()


@pytest.mark.parametrize(("small", "large"), [(1, 2), (5, 20), (20, 50)])
def test_the_larger_budget_contains_the_smaller(small: int, large: int) -> None:
    labels = drawn()
    assert set(at_least_per_class(labels, small, 3, "train")) < set(at_least_per_class(labels, large, 3, "train"))


def test_a_budget_follows_its_seed() -> None:
    labels = drawn()
    first = at_least_per_class(labels, 5, 0, "train").tolist()
    assert at_least_per_class(labels, 5, 0, "train").tolist() == first
    assert at_least_per_class(labels, 5, 1, "train").tolist() != first


def test_an_image_counts_for_each_of_its_classes() -> None:
    assert count_classes(np.array([[1, 1, 0], [0, 1, 0]], np.uint8), 3).tolist() == [1, 2, 0]
    assert count_classes(np.array([0, 1, 1]), 3).tolist() == [1, 2, 0]
