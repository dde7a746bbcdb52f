"""The numbers of the overfitting diagnosis, gaps and best evaluation, and the settings that decide its verdict."""

from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest

from loss_curves import CHANCE, FIT_PROBE, FIT_VAL, INF, NAN, OVERFIT_PROBE, OVERFIT_VAL, evaluations, verdict_of
from terrablate.errors import ConfigError
from terrablate.training.overfitting import Evaluation, MonitorSettings, best_evaluation, diagnose

# --- gaps, best evaluation


def test_gaps_are_positive_when_val_is_worse_at_the_last_and_at_the_best_evaluation() -> None:
    got = diagnose([Evaluation(1, 0.5, 0.4, 0.80, 0.82), Evaluation(2, 0.6, 0.2, 0.78, 0.95)], CHANCE)
    assert got.gap_loss == pytest.approx(0.4)
    assert got.gap_accuracy == pytest.approx(0.17)
    assert got.gap_loss_at_best == pytest.approx(0.1)
    assert got.gap_accuracy_at_best == pytest.approx(0.02)


def test_best_evaluation_skips_what_is_not_finite_and_takes_the_first_of_ties() -> None:
    assert best_evaluation(evaluations([NAN, 0.5, -INF, 0.4, 0.4], [1.0] * 5)) == 3
    assert best_evaluation(evaluations([NAN, INF], [1.0, 1.0])) is None
    assert best_evaluation([]) is None


# --- settings


@pytest.mark.parametrize(
    ("settings", "onset"),
    [
        ({}, 5),
        ({"tolerance": 0.29}, 5),  # last three 1.00, minimum 0.70: a rise of 0.30
        ({"tolerance": 0.31}, None),
        ({"patience": 5}, 5),  # 5 evaluations follow
        ({"patience": 6}, None),
    ],
)
def test_tolerance_and_patience_decide_the_onset(settings: dict[str, Any], onset: int | None) -> None:
    assert verdict_of(OVERFIT_VAL, OVERFIT_PROBE, **settings).onset_epoch == onset


def test_a_rise_that_stands_out_of_strong_noise_is_an_onset() -> None:
    """Measured: small_cnn on 20 labels a class of EuroSAT RGB, evaluated every 5 epochs."""
    val = [1.45, 1.23, 1.11, 1.22, 1.2, 0.98, 1.22, 1.21, 1.39, 1.23, 1.12, 1.39, 1.29, 1.8, 1.39, 1.49]
    probe = [1.27, 0.99, 0.78, 0.65, 0.56, 0.42, 0.37, 0.26, 0.25, 0.45, 0.2, 0.2, 0.09, 0.21, 0.08, 0.05]
    assert verdict_of(val, probe).onset_epoch == 6


def test_tolerance_holds_for_the_fall_of_the_probe_too() -> None:
    """Val rises by 0.3; probe falls by 0.04 only."""
    val, probe = [1.0, 0.6, 0.7, 0.9, 0.9, 0.9], [1.0, 0.5, 0.48, 0.46, 0.46, 0.46]
    assert verdict_of(val, probe, tolerance=0.03).onset_epoch == 2
    assert verdict_of(val, probe, tolerance=0.05).onset_epoch is None


def test_only_evaluations_after_the_minimum_count_in_the_window() -> None:
    """A window that reached before the minimum would see the high start of the probe, and no fall."""
    val, probe = [0.62, 0.6, 0.5, 0.8, 0.9, 1.0], [2.0, 2.0, 0.5, 0.4, 0.3, 0.2]
    assert verdict_of(val, probe, window=6).onset_epoch == 3


def test_window_decides_whether_a_late_rise_counts() -> None:
    val = [1.0, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9]
    probe = [1.0, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2]
    assert verdict_of(val, probe, window=1).onset_epoch == 2
    assert verdict_of(val, probe, window=3).onset_epoch is None
    assert verdict_of(OVERFIT_VAL, OVERFIT_PROBE, window=1).excess_loss == pytest.approx(0.40)


def test_underfit_fraction_decides_whether_the_probe_is_learnt() -> None:
    assert verdict_of(FIT_VAL, FIT_PROBE, underfit_fraction=0.3).verdict == "fits"
    assert verdict_of(FIT_VAL, FIT_PROBE, underfit_fraction=0.2).verdict == "underfits"


def test_chance_nll_scales_what_counts_as_learnt() -> None:
    assert diagnose(evaluations(FIT_VAL, FIT_PROBE), chance_nll=0.69).verdict == "underfits"


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"patience": 0}, {"tolerance": -0.1}, {"tolerance": NAN}, {"underfit_fraction": 0.0}]
)
def test_settings_that_cannot_work_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"monitor\.{next(iter(wrong))} is"):
        MonitorSettings(**wrong)


def test_input_that_is_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="no evaluations"):
        diagnose([], CHANCE)
    with pytest.raises(ValueError, match="expected them to rise"):
        diagnose([Evaluation(2, 1, 1, 0, 0), Evaluation(2, 1, 1, 0, 0)], CHANCE)
    for chance in (0.0, NAN, INF):
        with pytest.raises(ValueError, match="chance_nll"):
            diagnose(evaluations([1.0], [1.0]), chance)


def test_every_prefix_of_a_run_has_a_diagnosis_and_the_onset_stays_once_called() -> None:
    curve = evaluations(OVERFIT_VAL, OVERFIT_PROBE)
    onsets = [diagnose(curve[:n], CHANCE).onset_epoch for n in range(1, len(curve) + 1)]
    assert onsets == [None] * 7 + [5, 5, 5]
    assert all(later is not None for earlier, later in pairwise(onsets) if earlier is not None)


def test_a_diagnosis_is_plain_data() -> None:
    assert asdict(verdict_of(FIT_VAL, FIT_PROBE))["verdict"] == "fits"
