"""Critical values of several comparisons at once, against Dunnett's tables and two other ways of computing them."""

import numpy as np
import pytest
from scipy import stats

from terrablate.study.statistics.critical import critical_value


def alike(count: int, correlation: float = 0.5) -> np.ndarray:
    return np.full((count, count), correlation) + (1 - correlation) * np.eye(count)


# Dunnett (1964), New tables for multiple comparisons with a control, Biometrics 20, 482-491: two-sided, 95 %
@pytest.mark.parametrize(
    ("count", "df", "printed"),
    [(1, 5, 2.57), (2, 5, 3.03), (2, 10, 2.57), (3, 10, 2.76), (5, 20, 2.73), (9, 60, 2.77)],
)
def test_dunnetts_tables_are_met(count: int, df: int, printed: float) -> None:
    assert critical_value(alike(count), df) == pytest.approx(printed, abs=0.0051)


@pytest.mark.parametrize(("count", "df"), [(2, 2), (4, 8), (7, 14)])
def test_the_probability_of_scipys_multivariate_t_at_the_critical_value_is_the_confidence(count: int, df: int) -> None:
    c = critical_value(alike(count), df)
    inside = stats.multivariate_t.cdf(
        np.full(count, c), shape=alike(count), df=df, lower_limit=np.full(count, -c), random_state=0
    )
    assert inside == pytest.approx(0.95, abs=5e-4)


def test_unequal_groups_give_what_scipys_dunnett_gives() -> None:
    # blood counts of Dunnett (1955), Journal of the American Statistical Association 50, table 1
    control = [7.40, 8.50, 7.20, 8.24, 9.84, 8.32]
    drugs = [[9.76, 8.80, 7.68, 9.36], [12.80, 9.68, 12.16, 9.20, 10.55]]
    expected = stats.dunnett(*drugs, control=control, random_state=0).confidence_interval(0.95)
    groups = [np.array(control), *map(np.array, drugs)]
    df = sum(map(len, groups)) - 3
    variance = sum(((group - group.mean()) ** 2).sum() for group in groups) / df
    unscaled = np.array([[1 / len(groups[0])] * 2] * 2) + np.diag([1 / len(group) for group in groups[1:]])
    spread = np.sqrt(np.diag(unscaled))
    c = critical_value(unscaled / np.outer(spread, spread), df)
    for number, group in enumerate(groups[1:]):
        difference = group.mean() - groups[0].mean()
        half = c * np.sqrt(variance) * spread[number]
        assert (difference - half, difference + half) == pytest.approx(
            (expected.low[number], expected.high[number]), abs=0.01
        )


def test_correlations_of_any_shape_are_integrated_alike() -> None:
    # these have no common factor: the fixed sample is used, and has to agree with scipy
    shape = np.array([[1, 0.7, 0.1], [0.7, 1, 0.4], [0.1, 0.4, 1]])
    c = critical_value(shape, 9)
    inside = stats.multivariate_t.cdf([c] * 3, shape=shape, df=9, lower_limit=[-c] * 3, random_state=0)
    assert inside == pytest.approx(0.95, abs=1e-3)
    assert critical_value(shape, 9) == c
    with_zeros = np.array([[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1.0]])
    assert critical_value(np.eye(3), 9) > critical_value(with_zeros, 9) > stats.t.ppf(0.975, 9)
    # the same effect twice costs nothing
    assert critical_value(np.ones((2, 2)), 9) == pytest.approx(stats.t.ppf(0.975, 9), abs=5e-3)


def test_without_comparisons_or_degrees_of_freedom_there_is_no_value() -> None:
    assert np.isnan(critical_value(np.eye(0), 4))
    assert np.isnan(critical_value(np.eye(2), 0))
