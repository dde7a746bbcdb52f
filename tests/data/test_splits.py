"""Properties of the split functions: exact counts, whole groups, folds that partition, determinism."""

import numpy as np
import pytest

from terrablate.data.splits import (
    TEST,
    TRAIN,
    VAL,
    fold_members,
    fold_split,
    grouped_split,
    spatial_blocks,
    stratified_split,
)
from terrablate.errors import ConfigError, DataError

FRACTIONS = (0.7, 0.15, 0.15)


def class_counts(assignment: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Samples of every class (rows) in train, val and test (columns)."""
    return [np.bincount(assignment[labels == label], minlength=3).tolist() for label in np.unique(labels)]


def test_stratified_counts_are_exact_where_the_fractions_divide_evenly() -> None:
    labels = np.repeat([0, 1, 2], [100, 20, 40])
    assert class_counts(stratified_split(labels), labels) == [[70, 15, 15], [14, 3, 3], [28, 6, 6]]


def test_rounding_alternates_between_splits_so_that_totals_stay_near() -> None:
    labels = np.repeat(np.arange(10), 10)
    assignment = stratified_split(labels)
    assert np.bincount(assignment).tolist() == [70, 15, 15]
    assert {tuple(row) for row in class_counts(assignment, labels)} == {(7, 2, 1), (7, 1, 2)}


@pytest.mark.parametrize("size", range(1, 60))
def test_stratified_counts_are_within_one_of_exact_and_no_split_is_empty(size: int) -> None:
    labels = np.zeros(size, dtype=np.int64)
    counts = class_counts(stratified_split(labels), labels)[0]
    assert sum(counts) == size
    if size >= 3:
        assert min(counts) >= 1
    assert all(abs(count - size * share) <= 1.2 for count, share in zip(counts, FRACTIONS, strict=True))


def test_a_class_too_small_for_every_split_goes_to_train_first() -> None:
    labels = np.array([0, 1, 1])
    assert class_counts(stratified_split(labels), labels) == [[1, 0, 0], [2, 0, 0]]


def test_a_split_of_fraction_zero_stays_empty() -> None:
    labels = np.repeat([0, 1], 7)
    assert not (stratified_split(labels, (0.5, 0.5, 0.0)) == TEST).any()
    assert class_counts(stratified_split(labels, (0.5, 0.5, 0.0)), labels) == [[4, 3, 0], [3, 4, 0]]


def test_a_seed_gives_one_split_and_seeds_differ() -> None:
    labels = np.repeat([0, 1], 50)
    np.testing.assert_array_equal(stratified_split(labels, seed=3), stratified_split(labels, seed=3))
    assert (stratified_split(labels, seed=3) != stratified_split(labels, seed=4)).any()


def test_the_split_of_a_seed_never_changes_between_versions() -> None:
    # A change would move samples between the splits of old experiments.
    assert stratified_split(np.repeat([0, 1], 6), seed=0).tolist() == [0, 2, 1, 0, 0, 0, 0, 0, 1, 0, 2, 0]


def test_a_class_is_divided_regardless_of_where_the_others_stand() -> None:
    grouped = np.repeat([0, 1], 20)
    mixed = np.tile([0, 1], 20)
    for label in (0, 1):
        np.testing.assert_array_equal(
            stratified_split(grouped)[grouped == label], stratified_split(mixed)[mixed == label]
        )


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5)])
def test_fractions_that_do_not_sum_to_one_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"data\.fractions is .* three numbers"):
        stratified_split(np.zeros(9, dtype=np.int64), fractions)


def random_groups(seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    group_of = np.sort(rng.integers(0, 60, 900))
    labels = np.where(rng.random(900) < 0.8, group_of % 5, rng.integers(0, 5, 900))  # groups lean to a class
    return labels, [f"g{group}" for group in group_of]


@pytest.mark.parametrize("seed", range(5))
def test_no_group_stands_in_two_splits_and_class_counts_stay_near(seed: int) -> None:
    labels, groups = random_groups(seed)
    assignment = grouped_split(labels, groups, FRACTIONS, seed)
    assert all(len(set(assignment[np.array(groups) == group])) == 1 for group in set(groups))
    shares = np.array(class_counts(assignment, labels)) / np.bincount(labels)[:, None]
    np.testing.assert_allclose(shares, np.tile(FRACTIONS, (5, 1)), atol=0.06)
    np.testing.assert_allclose(np.bincount(assignment) / 900, FRACTIONS, atol=1 / 60)  # an average group


def test_equal_groups_divide_exactly() -> None:
    labels = np.tile([0, 1], 50)
    groups = [f"g{index // 5}" for index in range(100)]
    assert np.bincount(grouped_split(labels, groups)).tolist() == [70, 15, 15]


def test_groups_of_a_single_sample_split_as_well_as_stratified() -> None:
    labels = np.repeat([0, 1], [60, 20])
    assignment = grouped_split(labels, [str(index) for index in range(80)])
    assert class_counts(assignment, labels) == [[42, 9, 9], [14, 3, 3]]


def test_groups_of_all_sizes_are_in_all_splits() -> None:
    groups = [f"large{index // 20}" for index in range(400)] + [f"single{index}" for index in range(400)]
    assignment = grouped_split(np.tile([0, 1], 400), groups)
    assert np.bincount(assignment).tolist() == [560, 120, 120]
    assert np.bincount(assignment[:400]).tolist() == [280, 60, 60]


def test_every_split_gets_a_group_even_if_one_group_is_huge() -> None:
    labels = np.tile([0, 1], 50)
    groups = ["huge"] * 98 + ["a", "b"]
    assert sorted(np.bincount(grouped_split(labels, groups)).tolist()) == [1, 1, 98]


def test_grouped_seeds_repeat_and_differ() -> None:
    labels, groups = random_groups(0)
    np.testing.assert_array_equal(grouped_split(labels, groups, seed=1), grouped_split(labels, groups, seed=1))
    assert (grouped_split(labels, groups, seed=1) != grouped_split(labels, groups, seed=2)).any()


def test_fewer_groups_than_splits_are_refused() -> None:
    labels = np.tile([0, 1], 5)
    groups = ["a"] * 5 + ["b"] * 5
    with pytest.raises(DataError, match=r"2 group\(s\) for 3 splits"):
        grouped_split(labels, groups)
    assert set(grouped_split(labels, groups, (0.5, 0.5, 0.0)).tolist()) == {TRAIN, VAL}


@pytest.mark.parametrize("with_groups", [False, True])
def test_folds_partition_everything_but_one_fixed_test_share(with_groups: bool) -> None:
    labels, names = random_groups(0)
    groups = names if with_groups else None
    plain = grouped_split(labels, names, FRACTIONS, 7) if with_groups else stratified_split(labels, FRACTIONS, 7)
    folds = [fold_split(labels, groups, FRACTIONS, fold, 4, 7) for fold in range(4)]
    for assignment in folds:
        np.testing.assert_array_equal(assignment == TEST, plain == TEST)
        if with_groups:
            assert all(len(set(assignment[np.array(names) == name])) == 1 for name in set(names))
    times_val = sum((assignment == VAL).astype(int) for assignment in folds)
    np.testing.assert_array_equal(times_val, (plain != TEST).astype(int))


def test_folds_are_stratified() -> None:
    labels = np.repeat([0, 1], [80, 40])
    for fold in range(4):
        assignment = fold_split(labels, None, (0.6, 0.2, 0.2), fold, 4)
        assert class_counts(assignment, labels) == [[48, 16, 16], [24, 8, 8]]


@pytest.mark.parametrize("with_groups", [False, True])
def test_fold_seeds_repeat_and_differ(with_groups: bool) -> None:
    labels, names = random_groups(0)
    groups = names if with_groups else None
    first, again, other = (fold_members(labels, groups, 0, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_too_few_groups_or_samples_for_the_folds_are_refused() -> None:
    labels = np.tile([0, 1], 10)
    with pytest.raises(DataError, match=r"4 group\(s\) beside the test share, too few for 5 folds"):
        fold_members(labels, [f"g{index % 4}" for index in range(20)], 0, 5)
    with pytest.raises(DataError, match=r"largest class has 10 sample\(s\) .* too few for 11 folds"):
        fold_members(labels, None, 0, 11)


@pytest.mark.parametrize(("fold", "folds", "key"), [(5, 5, "data.fold"), (-1, 5, "data.fold"), (0, 1, "data.folds")])
def test_a_fold_that_does_not_exist_is_refused(fold: int, folds: int, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is"):
        fold_split(np.tile([0, 1], 10), None, FRACTIONS, fold, folds)


def test_blocks_are_squares_of_one_reference_system() -> None:
    x, y = np.array([0.0, 99.9, 100.0, -0.1, 5.0]), np.array([0.0, 99.9, 0.0, -100.0, 5.0])
    crs = ["EPSG:32630"] * 4 + ["EPSG:32631"]
    assert spatial_blocks(crs, x, y, 100) == [
        "EPSG:32630/0/0",
        "EPSG:32630/0/0",
        "EPSG:32630/1/0",
        "EPSG:32630/-1/-1",
        "EPSG:32631/0/0",
    ]


@pytest.mark.parametrize("block_size", [0, -5, float("nan"), float("inf")])
def test_a_block_without_size_is_refused(block_size: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.block_size is"):
        spatial_blocks(["EPSG:32630"], np.array([0.0]), np.array([0.0]), block_size)
