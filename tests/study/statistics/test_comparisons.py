"""The block model against a textbook and statsmodels; unequal variances; gaps, ties and lone seeds."""

import numpy as np
import pytest
from scipy import stats

from terrablate.study.statistics.comparisons import baseline_contrasts, compare, fit_blocks, mean_interval
from terrablate.study.statistics.critical import critical_value
from terrablate.study.statistics.variances import unequal_variances

# Montgomery, Design and Analysis of Experiments, example 4.1: vascular grafts, four pressures in six batches of resin
GRAFTS = np.array(
    [
        [90.3, 89.2, 98.2, 93.9, 87.4, 97.9],
        [92.5, 89.5, 90.6, 94.7, 87.0, 95.8],
        [85.5, 90.8, 89.6, 86.2, 88.0, 93.4],
        [82.5, 89.5, 85.6, 87.4, 78.9, 90.7],
    ]
)


def test_the_block_model_gives_the_textbooks_analysis_of_variance() -> None:
    fit = fit_blocks(GRAFTS)
    assert fit.df == 15
    assert fit.variance == pytest.approx(7.33, abs=0.005)  # printed: mean square of the error
    assert fit.means == pytest.approx([92.82, 91.68, 88.92, 85.77], abs=0.01)
    family = compare(GRAFTS, baseline_contrasts(4))
    se = np.sqrt(2 * 7.3257 / 6)
    critical = critical_value(np.full((3, 3), 0.5) + 0.5 * np.eye(3), 15)
    for each, mean in zip(family.estimates, [91.68, 88.92, 85.77], strict=True):
        assert each.estimate == pytest.approx(mean - 92.82, abs=0.01)
        assert each.se == pytest.approx(se, abs=1e-3)
        assert each.high - each.low == pytest.approx(2 * critical * se, abs=1e-2)
        assert each.high_single - each.low_single == pytest.approx(2 * stats.t.ppf(0.975, 15) * se, abs=1e-2)
        assert (each.n, each.method) == (6, "block+dunnett")


def test_gaps_are_met_as_by_statsmodels_least_squares() -> None:
    import statsmodels.api as sm

    values = GRAFTS.copy()
    values[1, 2] = values[0, 4] = values[3, 5] = np.nan
    family = compare(values, baseline_contrasts(4))
    variants, seeds = np.nonzero(np.isfinite(values))
    design = np.column_stack(
        [np.ones(len(seeds)), *[variants == v for v in (1, 2, 3)], *[seeds == s for s in range(1, 6)]]
    ).astype(float)
    expected = sm.OLS(values[np.isfinite(values)], design).fit()
    for number, each in enumerate(family.estimates, 1):
        assert each.estimate == pytest.approx(expected.params[number])
        assert each.se == pytest.approx(expected.bse[number])
        assert each.df == expected.df_resid
        assert (each.low_single, each.high_single) == pytest.approx(tuple(expected.conf_int()[number]))
    assert [each.n for each in family.estimates] == [4, 5, 4]


def test_of_two_variants_it_is_the_paired_t_test() -> None:
    family = compare(GRAFTS[:2], baseline_contrasts(2))
    expected = stats.ttest_rel(GRAFTS[1], GRAFTS[0]).confidence_interval()
    (only,) = family.estimates
    assert (only.low, only.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(family.unequal_p)


def test_a_lone_seed_says_nothing_about_differences() -> None:
    alone = np.column_stack([GRAFTS, [99.0, np.nan, np.nan, np.nan]])
    before, after = (compare(values, baseline_contrasts(4)).estimates for values in (GRAFTS, alone))
    for one, other in zip(before, after, strict=True):
        assert (one.low, one.high, one.df, one.n) == pytest.approx((other.low, other.high, other.df, other.n))


def test_a_seed_without_the_baseline_informs_through_the_others() -> None:
    values = np.array([[1.0, 2.1, np.nan, np.nan], [2.0, 3.0, 4.2, 5.1], [np.nan, np.nan, 6.0, 7.0]])
    _, chained = compare(values, baseline_contrasts(3)).estimates
    # variant 1 - baseline over seeds 0 and 1, plus variant 2 - variant 1 over seeds 2 and 3
    assert chained.estimate == pytest.approx((1.0 + 0.9) / 2 + (1.8 + 1.9) / 2)
    assert chained.n == 0
    apart = np.array([[1.0, 2.1, np.nan, np.nan], [2.0, 3.0, np.nan, np.nan], [np.nan, np.nan, 6.0, 7.0]])
    first, unknown = compare(apart, baseline_contrasts(3)).estimates
    assert first.estimate == pytest.approx(0.95)
    assert np.isnan([unknown.estimate, unknown.low]).all()


def test_ties_have_no_interval() -> None:
    tied = np.array([[0.5, 0.6, 0.7], [0.51, 0.61, 0.71], [0.5, 0.6, 0.7]])
    for each in compare(tied, baseline_contrasts(3)).estimates:
        assert each.tied
        assert np.isnan([each.low, each.high, each.se]).all()
    assert compare(tied, baseline_contrasts(3)).estimates[0].estimate == pytest.approx(0.01)


def test_one_seed_gives_differences_without_intervals() -> None:
    (only,) = compare(np.array([[0.5], [0.6]]), baseline_contrasts(2)).estimates
    assert only.estimate == pytest.approx(0.1)
    assert np.isnan([only.low, only.low_single]).all()
    assert not only.tied


def test_clearly_unequal_spreads_are_taken_seed_by_seed() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(6, 8))
    assert compare(values, baseline_contrasts(6)).estimates[0].method == "block+dunnett"
    values[0] *= 8
    family = compare(values, baseline_contrasts(6))
    assert family.unequal_p < 0.01
    for number, each in enumerate(family.estimates, 1):
        expected = stats.ttest_rel(values[number], values[0]).confidence_interval(1 - 0.05 / 5)
        assert (each.low, each.high) == pytest.approx((expected.low, expected.high))
        assert each.method == "paired+bonferroni"


def test_the_test_of_spreads_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    found = [unequal_variances(fit_blocks(rng.normal(size=(6, 5))).residuals) for _ in range(300)]
    assert 0.04 < np.mean(np.array(found) < 0.1) < 0.16
    values = rng.normal(size=(6, 5))
    values[2, 3] = np.nan
    assert 0 < unequal_variances(fit_blocks(values).residuals) <= 1


def test_means_have_t_intervals_and_none_where_nothing_varies() -> None:
    mean, sd, low, high = mean_interval(np.array([1.0, 2.0, 4.0, np.nan]))
    half = stats.t.ppf(0.975, 2) * sd / np.sqrt(3)
    assert (mean, sd) == pytest.approx((7 / 3, np.std([1, 2, 4], ddof=1)))
    assert (low, high) == pytest.approx((mean - half, mean + half))
    assert mean_interval(np.array([2.0, 2.0]))[:2] == (2.0, 0.0)
    assert np.isnan(mean_interval(np.array([2.0, 2.0]))[2:]).all()
    assert np.isnan(mean_interval(np.array([np.nan]))).all()
