"""Effects of factors, against a textbook's factorial and a fraction whose truth is known."""

import itertools

import numpy as np
import pytest

from terrablate.study.designs import Factor, fractional
from terrablate.study.statistics.comparisons import compare
from terrablate.study.statistics.factors import alias_chains, interactions, is_complete, main_effects

# Box, Hunter and Hunter, Statistics for Experimenters (2005), table 5.2: the pilot plant; yield in standard order
PLANT = [
    {"T": str(t), "C": str(c), "K": k} for k, c, t in itertools.product(("A", "B"), (20, 40), (160, 180))
]  # fmt: skip
YIELD = np.array([60, 72, 54, 68, 52, 83, 45, 80], float)


def test_the_pilot_plants_effects_are_those_of_the_book() -> None:
    main = {each.factor: each.weights @ YIELD for each in main_effects(PLANT)}
    assert main == pytest.approx({"T": 23, "C": -5, "K": 1.5})
    pairs = {each.factor: each.weights @ YIELD for each in interactions(PLANT)}
    assert pairs == pytest.approx({"T:C": 1.5, "T:K": 10, "C:K": 0})
    assert is_complete(PLANT)
    assert not is_complete(PLANT[:-1])


def test_levels_are_compared_with_the_baselines_level() -> None:
    variants = [{"a": a, "b": b} for a, b in itertools.product(("0", "1", "2"), ("x", "y"))]
    values = np.array([1.0, 3, 2, 4, 7, 11])
    found = {each.name: each.weights @ values for each in main_effects(variants)}
    assert found == pytest.approx({"a=1": 1, "a=2": 7, "b=y": 8 / 3})
    assert [(each.level, each.baseline) for each in main_effects(variants)][:2] == [("1", "0"), ("2", "0")]


def test_a_chain_is_the_sum_of_its_interactions_and_main_effects_are_clear_of_them() -> None:
    names = "abcdef"
    design = fractional([Factor(name, {"off": (), "on": (f"{name}=1",)}) for name in names])
    levels = [dict(variant.levels) for variant in design.variants]
    rng = np.random.default_rng(0)
    main = dict(zip(names, rng.normal(size=6), strict=True))
    pair = {frozenset(each): rng.normal() for each in itertools.combinations(names, 2)}

    def sign(variant: dict[str, str], name: str) -> int:
        return 1 if variant[name] == "on" else -1

    truth = np.array(
        [
            sum(size / 2 * sign(v, name) for name, size in main.items())
            + sum(size / 2 * np.prod([sign(v, name) for name in both]) for both, size in pair.items())
            for v in levels
        ]
    )
    assert len(levels) == 16
    assert {each.factor: each.weights @ truth for each in main_effects(levels)} == pytest.approx(main)
    chains = alias_chains(levels, design.aliases)
    assert {each.name for each in chains} == {" = ".join(chain) for chain in design.aliases}
    for chain in chains:
        members = [frozenset(member.split(":")) for member in chain.name.split(" = ")]
        assert len(members) > 1
        assert chain.weights @ truth == pytest.approx(sum(pair[member] for member in members))


def test_a_contrast_of_a_replicated_factorial_has_the_standard_error_of_the_book() -> None:
    # 2 sigma / sqrt(N) of N runs, Box, Hunter and Hunter, section 5.6
    rng = np.random.default_rng(1)
    values = YIELD[:, None] + rng.normal(size=(8, 4))
    family = compare(values, np.array([each.weights for each in main_effects(PLANT)]))
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    sigma = np.sqrt((residuals**2).sum() / 21)
    for each in family.estimates:
        assert each.se == pytest.approx(2 * sigma / np.sqrt(32))
        assert (each.df, each.n) == (21, 4)
