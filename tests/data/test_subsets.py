"""Label budgets and the probe."""

import numpy as np
import pytest

from terrablate.data.subsets import per_class, stratified_sample

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 100, 8]))


def test_a_budget_gives_exactly_so_many_of_each_class_and_all_of_a_smaller_one() -> None:
    chosen = per_class(LABELS, 20, 0, "train")
    assert np.bincount(LABELS[chosen]).tolist() == [20, 20, 8]
    assert (np.diff(chosen) > 0).all()  # sorted, none twice


def test_a_budget_of_each_class_is_a_part_of_the_common_one() -> None:
    chosen = per_class(LABELS, np.array([20, 7, 3]), 0, "train")
    assert np.bincount(LABELS[chosen]).tolist() == [20, 7, 3]
    assert set(chosen) < set(per_class(LABELS, 20, 0, "train"))


@pytest.mark.parametrize(("small", "large"), [(1, 2), (5, 20), (20, 50)])
def test_the_larger_budget_contains_the_smaller(small: int, large: int) -> None:
    assert set(per_class(LABELS, small, 3, "train")) < set(per_class(LABELS, large, 3, "train"))


def test_which_images_follow_seed_and_stream() -> None:
    first = per_class(LABELS, 20, 0, "train").tolist()
    assert per_class(LABELS, 20, 0, "train").tolist() == first
    assert per_class(LABELS, 20, 1, "train").tolist() != first
    assert per_class(LABELS, 20, 0, "val").tolist() != first


def test_a_class_does_not_change_the_choice_within_another() -> None:
    without = LABELS.copy()
    without[LABELS == 2] = 1  # class 2 joins class 1
    assert set(per_class(LABELS, 20, 0, "a")[LABELS[per_class(LABELS, 20, 0, "a")] == 0]) == set(
        per_class(without, 20, 0, "a")[without[per_class(without, 20, 0, "a")] == 0]
    )


def test_a_stratified_sample_keeps_proportions() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    chosen = stratified_sample(labels, 10, 0, "probe")
    assert np.bincount(labels[chosen]).tolist() == [5, 3, 2]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 50, 99, 167])
def test_a_stratified_sample_has_exactly_its_size_and_every_class_that_fits(size: int) -> None:
    chosen = stratified_sample(LABELS, size, 0, "probe")
    assert len(set(chosen.tolist())) == size
    counts = np.bincount(LABELS[chosen], minlength=3)
    assert (counts > 0).all() or size < 3
    shares = np.bincount(LABELS) * size / len(LABELS)
    assert (np.abs(counts - shares) <= 1.5).all()


@pytest.mark.parametrize("size", [168, 500])
def test_a_sample_as_large_as_the_set_is_the_set(size: int) -> None:
    assert stratified_sample(LABELS, size, 0, "probe").tolist() == list(range(168))


def test_labels_that_do_not_occur_are_passed_over() -> None:
    labels = np.array([1, 1, 5, 5, 5, 5])
    assert np.bincount(labels[per_class(labels, 1, 0, "a")]).tolist() == [0, 1, 0, 0, 0, 1]
    assert np.bincount(labels[stratified_sample(labels, 3, 0, "a")]).tolist() == [0, 1, 0, 0, 0, 2]
