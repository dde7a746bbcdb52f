"""Dividing samples into train, val and test: stratified by class, by group, by place, or into folds."""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from terrablate.data.source import SPLITS
from terrablate.errors import ConfigError, DataError

type Integers = npt.NDArray[np.int64]
"""An array N of class numbers, or of split numbers, which index `source.SPLITS`."""

TRAIN, VAL, TEST = 0, 1, 2
DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise `ConfigError` unless the fractions are three numbers for train, val and test that sum to 1."""
    allowed = "three numbers for train, val and test, from 0 to 1, train above 0, that sum to 1"
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or fractions[TRAIN] <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(f"data.fractions is {list(fractions)}, but must be {allowed}.")


def check_fold(fold: int, folds: int) -> None:
    """Raise `ConfigError` unless there are at least two folds and `fold` is one of them, counted from 0."""
    if folds < 2:
        raise ConfigError(f"data.folds is {folds}, but must be at least 2.")
    if not 0 <= fold < folds:
        raise ConfigError(f"data.fold is {fold}, but with {folds} folds it must be from 0 to {folds - 1}.")


def stratified_split(labels: Integers, fractions: Sequence[float] = DEFAULT_FRACTIONS, seed: int = 0) -> Integers:
    """Divide every class at random in the same proportions.

    Each split has `fraction * size` samples of a class, up or down to a whole number such that the totals stay near
    the fractions too. A class with at least as many samples as there are splits of nonzero fraction is in all of
    them.

    Args:
        labels: N class numbers, in the order of the sorted sample ids, so that the result does not depend on the disk.
        fractions: Shares of train, val and test.
        seed: From 0 to 2**32 - 1.

    Returns:
        N split numbers.

    Raises:
        ConfigError: If the fractions are not three that sum to 1.
    """
    check_fractions(fractions)
    assignment = np.empty(len(labels), dtype=np.int64)
    shares = np.asarray(fractions, dtype=np.float64)
    surplus = np.zeros(len(SPLITS))  # of the classes so far, over their exact shares
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        counts = _whole_counts(len(members), shares, surplus)
        surplus += counts - shares * len(members)
        # RandomState, not default_rng: NumPy promises (NEP 19) that its stream never changes, hence nor do splits.
        order = np.random.RandomState([seed, int(label)]).permutation(members)
        assignment[order] = np.repeat(np.arange(len(SPLITS)), counts)
    return assignment


def _whole_counts(size: int, shares: npt.NDArray[np.float64], surplus: npt.NDArray[np.float64]) -> Integers:
    """Round `size * shares` to whole numbers that sum to `size`: largest remainders first, then smallest surplus."""
    exact = size * shares
    counts = np.floor(exact + 1e-9).astype(np.int64)  # 0.7 * 100 is 69.99999999999999
    remainders = np.round(exact - counts, 9)
    remainders[shares == 0] = -1
    ranking = np.lexsort((np.round(surplus, 9), -remainders))
    counts[ranking[: size - int(counts.sum())]] += 1
    wanted = np.flatnonzero(shares > 0)
    if size >= len(wanted):
        for split in wanted[counts[wanted] == 0]:
            counts[counts.argmax()] -= 1
            counts[split] += 1
    return counts


def grouped_split(
    labels: Integers, groups: Sequence[str], fractions: Sequence[float] = DEFAULT_FRACTIONS, seed: int = 0
) -> Integers:
    """Divide whole groups, such that no group stands in two splits, classes as near to the fractions as possible.

    Greedy: groups in a seeded random order, larger ones first, each go to the split that, measured by its fraction,
    lacks most of the group's classes (each class weighted by the inverse of its size), so that groups of all sizes are
    in all splits; then single groups move as long as that brings the class counts nearer to the fractions.

    Args:
        labels: N class numbers, in the order of the sorted sample ids.
        groups: N group names.
        fractions: Shares of train, val and test.
        seed: From 0 to 2**32 - 1.

    Returns:
        N split numbers.

    Raises:
        ConfigError: If the fractions are not three that sum to 1.
        DataError: If there are fewer groups than splits of nonzero fraction.
    """
    check_fractions(fractions)
    shares = np.asarray(fractions, dtype=np.float64)
    wanted = np.flatnonzero(shares > 0)
    names, group_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    if len(names) < len(wanted):
        raise DataError(
            f"There are {len(names)} group(s) for {len(wanted)} splits, but each split needs a group of its own: "
            "use smaller groups or blocks, or set a fraction of data.fractions to 0."
        )
    _, class_of = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), int(class_of.max()) + 1))
    np.add.at(counts, (group_of, class_of), 1)
    shuffled = np.random.RandomState(seed).permutation(len(names))
    order = shuffled[np.argsort(-counts.sum(axis=1)[shuffled], kind="stable")]
    # Columns: classes in units of their own size, and last the size of the split.
    table = np.column_stack((counts / counts.sum(axis=0), counts.sum(axis=1) / len(labels)))
    split_of = _place_groups(table, shares, wanted, order)
    return split_of[group_of]


def _place_groups(
    table: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], wanted: Integers, order: Integers
) -> Integers:
    """Give each row of `table` (a group's class contents) a split, near to the shares in chi-squared distance."""
    excess = -np.outer(shares, np.ones(table.shape[1]))  # contents of each split over its target
    split_of = np.full(len(table), -1, dtype=np.int64)
    sizes = np.zeros(len(shares), dtype=np.int64)  # groups in each split

    def cost_of_adding(row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Growth of sum(excess**2 / share). Without the division, train would get all large groups.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.round((2 * excess @ row + row @ row) / shares, 12)

    for group in order:
        split = wanted[np.argmin(cost_of_adding(table[group])[wanted])]
        split_of[group] = split
        excess[split] += table[group]
        sizes[split] += 1
    for split in wanted:
        if sizes[split] == 0:  # a few huge groups took it all: give it the smallest that can be spared
            spare = next(group for group in order[::-1] if sizes[split_of[group]] > 1)
            excess[split_of[spare]] -= table[spare]
            excess[split] += table[spare]
            sizes[split_of[spare]] -= 1
            sizes[split] += 1
            split_of[spare] = split
    for _ in range(10):  # settles in two or three passes
        moved = False
        for group in order:
            row, old = table[group], split_of[group]
            if sizes[old] == 1:
                continue
            excess[old] -= row
            costs = cost_of_adding(row)
            new = wanted[np.argmin(costs[wanted])]
            if costs[new] < costs[old]:
                split_of[group], moved = new, True
                sizes[old] -= 1
                sizes[new] += 1
            excess[split_of[group]] += row
        if not moved:
            break
    return split_of


def fold_split(
    labels: Integers,
    groups: Sequence[str] | None,
    fractions: Sequence[float],
    fold: int,
    folds: int,
    seed: int = 0,
) -> Integers:
    """Set the test share aside, the same for every fold, and make fold number `fold` of the rest val, the others train.

    The test samples are those of `stratified_split` or `grouped_split` with the same fractions and seed.

    Args:
        labels: N class numbers, in the order of the sorted sample ids.
        groups: N group names that are never divided, or None.
        fractions: Shares of train, val and test, of which only test's counts here.
        fold: From 0 to `folds - 1`.
        folds: Number of folds, at least 2.
        seed: From 0 to 2**32 - 1.

    Returns:
        N split numbers.

    Raises:
        ConfigError: If the fractions are not three that sum to 1, or `fold` is not one of the folds.
        DataError: If there are too few groups or samples for so many folds.
    """
    check_fold(fold, folds)
    if groups is None:
        assignment = stratified_split(labels, fractions, seed)
    else:
        assignment = grouped_split(labels, groups, fractions, seed)
    rest = np.flatnonzero(assignment != TEST)
    rest_groups = None if groups is None else [groups[index] for index in rest.tolist()]
    is_val = fold_members(labels[rest], rest_groups, fold, folds, seed)
    assignment[rest] = np.where(is_val, VAL, TRAIN)
    return assignment


def fold_members(
    labels: Integers, groups: Sequence[str] | None, fold: int, folds: int, seed: int = 0
) -> npt.NDArray[np.bool_]:
    """Tell which of N samples belong to fold number `fold`; arguments and errors are those of `fold_split`."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    check_fold(fold, folds)
    if groups is not None and len(set(groups)) < folds:
        raise DataError(f"There are {len(set(groups))} group(s) beside the test share, too few for {folds} folds.")
    largest = int(np.bincount(labels).max()) if len(labels) else 0
    if largest < folds:
        raise DataError(f"The largest class has {largest} sample(s) beside the test share, too few for {folds} folds.")
    kfold = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        # Its warning of a class smaller than the folds: the caller sees which split lacks which class.
        warnings.simplefilter("ignore", UserWarning)
        parts = list(kfold(n_splits=folds, shuffle=True, random_state=seed).split(labels, labels, groups))
    if any(len(held_out) == 0 for _, held_out in parts):
        raise DataError(f"The groups are too large and too few to fill {folds} folds; use fewer folds.")
    is_member = np.zeros(len(labels), dtype=bool)
    is_member[parts[fold][1]] = True
    return is_member


def spatial_blocks(
    crs: Sequence[str], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], block_size: float
) -> list[str]:
    """Name the square of a regular grid in which each point lies; blocks of two reference systems are never the same.

    Args:
        crs: N names of coordinate reference systems.
        x: N coordinates, in the units of their system.
        y: N coordinates, likewise.
        block_size: Side of a square in those units (metres in UTM, degrees in EPSG:4326).

    Returns:
        N names such as `EPSG:32630/74/-3`.

    Raises:
        ConfigError: If the block size is not above 0.
    """
    if not block_size > 0 or not np.isfinite(block_size):
        raise ConfigError(
            f"data.block_size is {block_size}, but must be a number above 0, in units of the images' CRS."
        )
    columns = np.floor(np.asarray(x) / block_size).astype(np.int64)
    rows = np.floor(np.asarray(y) / block_size).astype(np.int64)
    return [f"{name}/{column}/{row}" for name, column, row in zip(crs, columns, rows, strict=True)]
