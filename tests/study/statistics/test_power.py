"""Detectable effects and seeds needed, against statsmodels and a simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from terrablate.study.statistics.power import detectable, seeds_needed


@pytest.mark.parametrize("n", [3, 5, 20])
def test_one_comparison_agrees_with_statsmodels(n: int) -> None:
    sd = 0.04
    found = detectable(sd / np.sqrt(n), n - 1, float(stats.t.ppf(0.975, n - 1)))
    expected = sd * TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert found == pytest.approx(expected, rel=1e-3)


def test_seeds_needed_agree_with_statsmodels() -> None:
    def rule(n: int) -> tuple[float, float]:
        return n - 1, float(stats.t.ppf(0.975, n - 1)) if n > 1 else float("nan")

    for effect in (0.02, 0.05, 0.2):
        expected = TTestPower().solve_power(effect_size=effect / 0.04, alpha=0.05, power=0.8)
        assert seeds_needed(0.04, effect, rule) == np.ceil(expected)
    assert seeds_needed(0.04, 0.001, rule) == float("inf")
    assert seeds_needed(0.04, 0.0, rule) == float("inf")
    assert np.isnan(seeds_needed(float("nan"), 0.1, rule))


def test_an_effect_of_the_detectable_size_is_found_in_four_of_five_experiments() -> None:
    rng = np.random.default_rng(0)
    critical = 3.2
    effect = detectable(1 / np.sqrt(6), 5, critical)
    values = rng.normal(effect, 1, size=(20_000, 6))
    t = values.mean(1) / (values.std(1, ddof=1) / np.sqrt(6))
    assert (np.abs(t) > critical).mean() == pytest.approx(0.8, abs=0.01)


def test_without_an_interval_nothing_can_be_said() -> None:
    assert np.isnan(detectable(float("nan"), 4, 2.5))
    assert np.isnan(detectable(0.1, 0, 2.5))
