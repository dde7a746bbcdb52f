"""Long tails, and balanced sampling."""

import numpy as np
import pytest

from terrablate.data.imbalance import balanced_order, long_tail

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 4], [60, 25, 8, 2]))


def test_class_sizes_fall_exponentially_to_the_last_by_the_factor() -> None:
    assert long_tail(np.full(5, 1000), 100).tolist() == [1000, 316, 100, 32, 10]
    assert long_tail(np.full(10, 5000), 100).tolist() == [5000, 2997, 1797, 1077, 646, 387, 232, 139, 83, 50]


def test_factor_one_keeps_all() -> None:
    counts = np.array([7, 0, 3, 1])
    assert long_tail(counts, 1).tolist() == counts.tolist()


def test_every_class_that_has_images_keeps_one() -> None:
    assert long_tail(np.array([9, 3, 0, 1]), 1e6).tolist() == [9, 1, 0, 1]


def test_a_larger_factor_never_keeps_more() -> None:
    counts = np.array([40, 31, 77, 5, 60])
    kept = np.stack([long_tail(counts, factor) for factor in (1, 1.5, 2, 7, 10, 100, 1e4)])
    assert (np.diff(kept, axis=0) <= 0).all()


@pytest.mark.parametrize("epoch", range(5))
def test_a_balanced_epoch_has_its_length_and_shows_every_class_equally_often(epoch: int) -> None:
    order = balanced_order(LABELS, 0, epoch)
    shown = np.bincount(LABELS[order], minlength=5)
    assert len(order) == len(LABELS) == 95
    assert shown[3] == 0  # it has no images
    assert sorted(shown[[0, 1, 2, 4]].tolist()) == [23, 24, 24, 24]


def test_which_class_is_shown_once_less_changes_from_epoch_to_epoch() -> None:
    fewest = {int(np.bincount(LABELS[balanced_order(LABELS, 0, epoch)])[[0, 1, 2, 4]].argmin()) for epoch in range(30)}
    assert fewest == {0, 1, 2, 3}


def test_within_a_class_no_image_is_shown_twice_more_often_than_another() -> None:
    shown = np.bincount(balanced_order(LABELS, 0, 0), minlength=len(LABELS))
    for label in (0, 1, 2, 4):
        own = shown[label == LABELS]
        assert own.max() - own.min() <= 1
    assert shown[LABELS == 0].max() == 1  # 24 of its 60
    assert shown[LABELS == 4].tolist() == [12, 12] or shown[LABELS == 4].sum() == 23


def test_the_whole_of_a_frequent_class_is_shown_in_the_course_of_epochs() -> None:
    shown = set(np.concatenate([balanced_order(LABELS, 0, epoch) for epoch in range(15)]).tolist())
    assert shown == set(range(len(LABELS)))


def test_the_order_is_a_function_of_seed_and_epoch_and_mixes_the_classes() -> None:
    order = balanced_order(LABELS, 0, 2).tolist()
    assert balanced_order(LABELS, 0, 2).tolist() == order
    assert balanced_order(LABELS, 0, 3).tolist() != order
    assert balanced_order(LABELS, 1, 2).tolist() != order
    assert len(set(LABELS[order[:20]].tolist())) == 4


def test_with_equal_classes_it_is_a_permutation() -> None:
    assert sorted(balanced_order(np.arange(40) % 4, 0, 0).tolist()) == list(range(40))
