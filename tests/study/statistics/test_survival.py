"""Censored onsets, against a textbook's curve."""

import numpy as np
import pytest

from terrablate.study.statistics.survival import horizon, restricted_mean, share_interval

# remission under 6-MP of Freireich et al. (1963), in Klein and Moeschberger, Survival Analysis, table 4.1A
WEEKS = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], float)
RELAPSE = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], bool)


def test_the_restricted_mean_is_the_area_under_the_textbooks_curve() -> None:
    steps = [(6, 1), (1, 0.857), (3, 0.807), (3, 0.753), (3, 0.690), (6, 0.627), (1, 0.538), (12, 0.448)]
    found = restricted_mean(WEEKS, RELAPSE, 35)
    assert found.mean == pytest.approx(sum(width * height for width, height in steps), abs=0.02)
    assert found.se == pytest.approx(2.83, abs=0.005)  # as R's survival prints it: print(survfit(...), rmean = 35)
    assert found.low < found.mean < found.high <= 35
    assert found.method == "kaplan-meier"


def test_without_censoring_it_is_the_mean_of_the_smaller_of_onset_and_horizon() -> None:
    found = restricted_mean(np.array([12.0, 32.0, 60.0]), np.array([True, True, False]), 60)
    assert (found.mean, found.method) == (pytest.approx(104 / 3), "t")
    assert found.se == pytest.approx(np.std([12, 32, 60], ddof=1) / np.sqrt(3))
    alike = restricted_mean(np.array([60.0, 60.0]), np.array([False, False]), 60)
    assert alike.mean == 60
    assert np.isnan(alike.low)


def test_a_run_that_stopped_early_counts_for_as_long_as_it_was_watched() -> None:
    found = restricted_mean(np.array([10.0, 20.0, 30.0]), np.array([True, False, True]), 30)
    # after 10: two of three; the run censored at 20 leaves no step; until 30
    assert found.mean == pytest.approx(10 + 20 * 2 / 3)


def test_the_horizon_is_how_long_every_group_was_watched() -> None:
    assert horizon([np.array([20.0, 30.0]), np.array([60.0])], 60) == 30
    assert horizon([np.array([60.0])], 50) == 50


def test_shares_have_exact_intervals() -> None:
    # none of 3: 1 - 0.025 ** (1 / 3)
    assert share_interval(0, 3) == pytest.approx((0, 1 - 0.025 ** (1 / 3)))
    assert share_interval(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
