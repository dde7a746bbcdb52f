"""Designs against what the books say of them."""

import itertools

import numpy as np
import pytest
from pyDOE3 import fracfact_by_res

from terrablate.errors import ConfigError
from terrablate.study.designs import (
    Design,
    Factor,
    best_generators,
    defining_relation,
    factorial,
    fractional,
    leave_one_out,
    listed,
    one_at_a_time,
)


def factors(count: int, levels: int = 2) -> list[Factor]:
    names = "abcdefghijklmnop"[:count]
    return [Factor(name, {str(level): (f"{name}={level}",) for level in range(levels)}) for name in names]


def signs(design: Design) -> np.ndarray:
    """Runs x factors of -1 and 1."""
    return np.array([[1 if level == "1" else -1 for level in v.levels.values()] for v in design.variants])


def test_one_at_a_time_differs_from_the_baseline_in_one_level() -> None:
    design = one_at_a_time(factors(3, levels=3))
    baseline, *others = design.variants
    assert baseline.name == "baseline"
    assert baseline.overrides == ("a=0", "b=0", "c=0")
    assert len(others) == 3 * 2
    for variant in others:
        assert sum(variant.levels[name] != level for name, level in baseline.levels.items()) == 1
    assert {variant.name for variant in others} == {"a=1", "a=2", "b=1", "b=2", "c=1", "c=2"}


def test_leave_one_out_is_all_tricks_and_each_without_one() -> None:
    first, *others = leave_one_out(factors(3)).variants
    assert first.name == "all"
    assert first.overrides == ("a=1", "b=1", "c=1")
    assert [variant.name for variant in others] == ["without a", "without b", "without c"]
    assert others[1].overrides == ("a=1", "b=0", "c=1")
    with pytest.raises(ConfigError, match="the factor a has 3 levels; two are needed"):
        leave_one_out(factors(1, levels=3))


def test_a_factorial_has_every_combination_once() -> None:
    design = factorial([*factors(2, levels=3), Factor("z", {"0": (), "1": ("z=1",)})])
    assert len({tuple(variant.levels.values()) for variant in design.variants}) == len(design.variants) == 18
    assert design.variants[0].name == "baseline"
    assert design.variants[-1].name == "a=2, b=2, z=1"


@pytest.mark.parametrize(
    ("count", "runs"), [(4, 8), (5, 16), (6, 16), (7, 16), (8, 16), (9, 32), (11, 32)]
)  # Montgomery, Design and Analysis of Experiments, table of resolution IV designs
def test_a_fractional_design_has_the_size_of_the_tables_and_clear_main_effects(count: int, runs: int) -> None:
    design = fractional(factors(count))
    matrix = signs(design)
    assert matrix.shape == (runs, count)
    assert len(np.unique(matrix, axis=0)) == runs
    np.testing.assert_array_equal(matrix.T @ matrix, runs * np.eye(count))  # balanced and orthogonal
    for main, (one, other) in itertools.product(range(count), itertools.combinations(range(count), 2)):
        assert main in (one, other) or matrix[:, main] @ (matrix[:, one] * matrix[:, other]) == 0
    assert design.resolution is not None
    assert design.resolution >= 4
    assert design.variants[0].name == "baseline"


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8])
def test_aliases_are_what_the_matrix_confounds_and_nothing_else(count: int) -> None:
    design = fractional(factors(count))
    matrix = signs(design)
    column = {f"{a}:{b}": matrix[:, i] * matrix[:, j] for (i, a), (j, b) in pairs(count)}
    chains = {frozenset(chain) for chain in design.aliases}
    for one, other in itertools.combinations(column, 2):
        confounded = abs(int(column[one] @ column[other])) == len(matrix)
        assert confounded == any({one, other} <= chain for chain in chains), (one, other)


def pairs(count: int) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    return list(itertools.combinations(enumerate("abcdefgh"[:count]), 2))


def test_the_resolution_is_counted_and_not_believed() -> None:
    """A kept library says resolution V of seven factors in 32 runs, and interactions are confounded nevertheless."""
    matrix = np.asarray(fracfact_by_res(7, 5))
    words = itertools.combinations(range(7), 4)
    assert any(abs(matrix[:, list(word)].prod(axis=1).sum()) == len(matrix) for word in words)
    assert min(map(len, defining_relation(4, [frozenset({0, 1, 2, 3})]))) == 5  # e = abcd
    basic, added = best_generators(7)
    assert (basic, min(map(len, defining_relation(basic, added)))) == (4, 4)


def test_three_factors_or_fewer_are_not_fractioned() -> None:
    assert len(fractional(factors(3)).variants) == 8
    assert fractional(factors(3)).resolution is None


def test_listed_variants_keep_their_names_and_order() -> None:
    design = listed({"plain": (), "tricks": ("aug=flip", "dropout=head")})
    assert [variant.name for variant in design.variants] == ["plain", "tricks"]
    assert design.variants[1].overrides == ("aug=flip", "dropout=head")
    assert design.variants[1].levels == {"variant": "tricks"}
