"""The overfitting diagnosis on curves made by hand: best epoch, onset, verdict, sentence; and when stopping stops."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest

from terrablate.errors import ConfigError
from terrablate.training.overfitting import (
    Diagnosis,
    Evaluation,
    MonitorSettings,
    best_evaluation,
    diagnose,
    would_stop_at,
)

NAN, INF = math.nan, math.inf
CHANCE = 2.3  # ten even classes: log(10)

# Val is lowest at epoch 5 and rises; probe falls all the way.
OVERFIT_VAL = [1.8, 1.2, 0.9, 0.75, 0.70, 0.72, 0.80, 0.90, 1.00, 1.10]
OVERFIT_PROBE = [1.8, 1.1, 0.8, 0.60, 0.50, 0.40, 0.30, 0.22, 0.15, 0.11]
# Both settle, the probe well below half of chance.
FIT_VAL = [1.8, 1.2, 0.9, 0.75, 0.68, 0.66, 0.655, 0.65, 0.652, 0.651]
FIT_PROBE = [1.8, 1.1, 0.8, 0.65, 0.58, 0.56, 0.555, 0.55, 0.551, 0.550]


def evaluations(val: Sequence[float], probe: Sequence[float], every: int = 1) -> list[Evaluation]:
    return [Evaluation((i + 1) * every, v, p, 0.70, 0.75) for i, (v, p) in enumerate(zip(val, probe, strict=True))]


def verdict_of(val: Sequence[float], probe: Sequence[float], every: int = 1, **settings: Any) -> Diagnosis:
    return diagnose(evaluations(val, probe, every), CHANCE, MonitorSettings(**settings))


# --- overfits


def test_overfitting_is_found_at_the_epoch_of_the_lowest_val_nll() -> None:
    got = verdict_of(OVERFIT_VAL, OVERFIT_PROBE)
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("overfits", 5, 5)
    assert got.excess_loss == pytest.approx(0.30)
    assert got.gap_loss == pytest.approx(0.99)
    assert got.gap_loss_at_best == pytest.approx(0.20)
    assert got.sentence == (
        "overfits from epoch 5: val NLL rose by 0.30 while probe NLL fell by 0.34; best checkpoint is epoch 5"
    )


def test_epochs_are_numbered_as_evaluated_not_as_counted() -> None:
    got = verdict_of(OVERFIT_VAL, OVERFIT_PROBE, every=4)
    assert (got.best_epoch, got.onset_epoch) == (20, 20)
    assert "from epoch 20" in got.sentence


def test_minimum_at_the_first_epoch_can_be_an_onset() -> None:
    got = verdict_of([0.6, 0.7, 0.8, 0.9, 1.0], [0.5, 0.4, 0.3, 0.2, 0.1])
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("overfits", 1, 1)


def test_first_of_tied_minima_is_the_best_epoch_and_the_onset() -> None:
    got = verdict_of([1.0, 0.7, 0.7, 0.8, 0.9, 1.0], [1.0, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert (got.best_epoch, got.onset_epoch) == (2, 2)


def test_clear_overfitting_is_found_under_noise() -> None:
    rng = random.Random(0)
    val = [0.6 + 1.6 * math.exp(-i / 3) + 0.02 * max(0, i - 8) + rng.gauss(0, 0.04) for i in range(30)]
    probe = [0.05 + 2.1 * math.exp(-i / 8) + rng.gauss(0, 0.01) for i in range(30)]
    got = verdict_of(val, probe)
    assert got.verdict == "overfits"
    assert got.onset_epoch is not None
    assert 6 <= got.onset_epoch <= 13


def test_overfitting_is_found_where_the_probe_has_almost_nothing_left_to_lose() -> None:
    val = [0.9, 0.5, 0.6, 0.7, 0.8, 0.9]
    halved = verdict_of(val, [0.3, 0.015, 0.010, 0.006, 0.004, 0.003])
    assert (halved.verdict, halved.onset_epoch) == ("overfits", 2)
    hardly = verdict_of(val, [0.3, 0.015, 0.014, 0.012, 0.012, 0.012])
    assert (hardly.verdict, hardly.onset_epoch) == ("plateau", None)


# --- what must not be called overfitting


def test_noise_around_a_flat_val_is_seldom_an_onset() -> None:
    wrong = 0
    for seed in range(100):
        rng = random.Random(seed)
        val = [0.6 + 1.6 * math.exp(-i / 3) + rng.gauss(0, 0.05) for i in range(30)]
        probe = [0.1 + 2.1 * math.exp(-i / 8) for i in range(30)]
        wrong += verdict_of(val, probe).onset_epoch is not None
    assert wrong <= 30  # with the tolerance alone it is wrong in about 75


@pytest.mark.parametrize("where", range(5, 10))
def test_one_high_val_is_no_onset(where: int) -> None:
    val = list(FIT_VAL)
    val[where] += 0.5
    got = verdict_of(val, [1.8, 1.1, 0.8, 0.65, 0.60, 0.55, 0.50, 0.45, 0.40, 0.35])
    assert (got.verdict, got.onset_epoch) == ("plateau", None)


def test_a_val_that_stays_while_the_probe_falls_on_slowly_is_a_plateau() -> None:
    """Slower than any window of the last evaluations would show; val is lowest at the fourth."""
    val = [1.5, 0.9, 0.62, 0.6, *(0.61, 0.62, 0.61) * 4]
    probe = [1.5, 0.9, 0.6, 0.5, *(0.48 - 0.005 * step for step in range(12))]
    got = verdict_of(val, probe)
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("plateau", 4, None)
    assert "has not improved since epoch 4 while probe NLL fell from 0.50 to 0.43" in got.sentence


def test_a_wide_gap_is_no_fit() -> None:
    """Measured: small_cnn with batch normalisation, dropout and augmentation, 20 labels a class of EuroSAT RGB."""
    got = verdict_of([1.5, 1.0, *(0.8, 0.82, 0.81, 0.8) * 2], [1.5, 0.6, *(0.08, 0.07, 0.08, 0.07) * 2])
    assert got.verdict == "plateau"
    assert "does not carry over" in got.sentence
    assert verdict_of([1.5, 1.0, *(0.3, 0.31) * 4], [1.5, 0.6, *(0.08, 0.07) * 4]).verdict == "fits"


def test_val_rising_together_with_probe_is_instability_not_overfitting() -> None:
    got = verdict_of([1.5, 0.8, 0.6, 0.7, 0.8, 0.9, 1.0], [1.5, 0.7, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("underfits", 3, None)
    assert "val NLL rose by 0.30 and probe NLL by 0.30, which is instability" in got.sentence


# --- underfits


def test_val_still_falling_at_the_end_underfits() -> None:
    got = verdict_of([1.5, 1.3, 1.1, 1.0, 0.9, 0.8], [1.4, 1.2, 1.0, 0.9, 0.8, 0.7])
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("underfits", 6, None)
    assert got.sentence == (
        "underfits: val NLL was still falling at epoch 6 (by 0.40 over the last 3 evaluations); "
        "train longer or with a higher learning rate"
    )


def test_both_stuck_at_chance_underfit() -> None:
    got = verdict_of([2.30, 2.29, 2.30, 2.29, 2.30, 2.29], [2.30, 2.29, 2.29, 2.29, 2.29, 2.29])
    assert got.verdict == "underfits"
    assert "probe NLL is 2.29 at the end, above 1.15 (50% of the chance NLL 2.30)" in got.sentence


def test_slow_start_near_chance_is_no_plateau() -> None:
    """Probe falls by more than the tolerance and val by less, but no gap has opened."""
    got = verdict_of([2.30, 2.30, 2.30, 2.29, 2.29, 2.285], [2.31, 2.31, 2.30, 2.285, 2.28, 2.27])
    assert got.verdict == "underfits"


def test_one_epoch_underfits_and_says_so() -> None:
    got = verdict_of([0.5], [0.4])
    assert (got.verdict, got.best_epoch, got.onset_epoch, got.excess_loss) == ("underfits", 1, None, 0.0)
    assert "only epoch 1 was evaluated" in got.sentence


@pytest.mark.parametrize(
    ("val", "probe", "verdict"),
    [
        ([1.0, 0.5], [0.9, 0.4], "underfits"),
        ([0.5, 0.5], [0.4, 0.4], "fits"),
        ([0.5, 0.5], [0.4, 0.3], "plateau"),
        ([0.5, 0.9], [0.4, 0.3], "plateau"),  # too short to call an onset
        ([0.5, 0.9], [0.4, 0.8], "underfits"),  # lost ground
    ],
)
def test_two_epochs(val: list[float], probe: list[float], verdict: str) -> None:
    got = verdict_of(val, probe)
    assert (got.verdict, got.onset_epoch) == (verdict, None)


def test_one_high_val_before_the_end_is_not_taken_for_a_fall() -> None:
    val = list(FIT_VAL)
    val[5] += 0.5
    assert verdict_of(val, FIT_PROBE).verdict == "fits"


# --- fits, plateau


def test_settled_val_with_a_learnt_probe_fits() -> None:
    got = verdict_of(FIT_VAL, FIT_PROBE)
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("fits", 8, None)
    assert got.sentence == (
        "fits: val NLL settled at 0.65 and probe NLL at 0.55 (gap 0.10, chance NLL 2.30); best checkpoint is epoch 8"
    )


def test_minimum_at_the_last_epoch_has_no_onset() -> None:
    got = verdict_of([1.0, 0.70, 0.69, 0.69, 0.685, 0.685, 0.68], [0.9, 0.6, 0.59, 0.59, 0.585, 0.585, 0.58])
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("fits", 7, None)
    assert got.excess_loss == pytest.approx(0.01 / 3)


def test_val_flat_while_probe_falls_is_a_plateau() -> None:
    got = verdict_of([1.2, 0.71, 0.70, 0.705, 0.70, 0.705, 0.70], [1.1, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert (got.verdict, got.onset_epoch) == ("plateau", None)
    assert "near 0.70 while probe NLL was still falling (by 0.30 over the last 3 evaluations)" in got.sentence


def test_val_flat_while_probe_falls_from_high_is_a_plateau_once_a_gap_is_open() -> None:
    """More epochs would only memorise: "train longer" is the wrong advice though the probe is not learnt yet."""
    assert verdict_of([2.1] * 6, [2.0, 1.9, 1.8, 1.7, 1.6, 1.5]).verdict == "plateau"


def test_noise_of_a_settled_probe_is_no_plateau() -> None:
    plateaus = 0
    for seed in range(100):
        rng = random.Random(seed)
        probe = [0.5 + 1.6 * math.exp(-i / 3) + rng.gauss(0, 0.05) for i in range(30)]
        plateaus += verdict_of([0.65 + 1.6 * math.exp(-i / 3) for i in range(30)], probe).verdict == "plateau"
    assert plateaus <= 10  # with the bare tolerance 26


def test_learnt_probe_with_val_near_chance_does_not_fit() -> None:
    got = verdict_of([2.2, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], [2.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert got.verdict == "plateau"
    assert "does not carry over to val (gap 1.90)" in got.sentence


def test_rise_with_a_still_probe_is_a_plateau_that_says_what_is_missing() -> None:
    got = verdict_of([1.0, 0.6, 0.7, 0.8, 0.9, 0.9], [1.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert (got.verdict, got.onset_epoch) == ("plateau", None)
    assert "risen by 0.27 since epoch 2; to call it overfitting takes 3 evaluations after it (here 4)" in got.sentence


# --- diverged


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_non_finite_val_in_the_middle_diverges_and_keeps_the_best_before(bad: float) -> None:
    got = verdict_of([1.0, 0.8, bad, INF, NAN], [1.0, 0.7, 0.6, NAN, NAN])
    assert (got.verdict, got.best_epoch, got.onset_epoch) == ("diverged", 2, None)
    assert (got.excess_loss, got.gap_loss) == (None, None)
    assert got.gap_loss_at_best == pytest.approx(0.1)
    assert got.sentence.startswith(f"diverged: val NLL was {bad} at epoch 3;")
    assert got.sentence.endswith("best checkpoint is epoch 2")


def test_nan_from_the_first_epoch_leaves_no_best() -> None:
    got = verdict_of([NAN, NAN], [NAN, NAN])
    assert (got.verdict, got.best_epoch, got.gap_loss_at_best) == ("diverged", None, None)
    assert got.sentence.endswith("at epoch 1; lower the learning rate or clip gradients; no checkpoint is usable")


def test_non_finite_probe_alone_diverges() -> None:
    got = verdict_of(OVERFIT_VAL[:3], [1.8, INF, 0.8])
    assert (got.verdict, got.best_epoch) == ("diverged", 3)
    assert "probe NLL was inf at epoch 2" in got.sentence


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


# --- early stopping


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "expected"),
    [
        ([1.0, 0.9, 0.8], 1, 0.0, None),
        ([1.0, 0.9, 0.95, 0.96], 2, 0.0, 3),
        ([1.0, 0.9, 0.95, 0.85, 0.9], 2, 0.0, None),  # an improvement starts the count anew
        ([1.0, 1.0, 1.0], 2, 0.0, 2),  # an equal value is no improvement
        ([1.0, 0.75, 0.5], 2, 0.25, None),  # 0.75 is no improvement by MORE than 0.25, but 0.5 beats 1.0 by it
        ([1.0, 0.75, 0.75], 2, 0.25, 2),
        ([1.0, NAN, NAN], 2, 0.0, 2),
        ([1.0, NAN, 0.9, NAN], 2, 0.0, None),
        ([NAN, NAN, 0.5], 2, 0.0, 1),
        ([NAN, 1.0, 0.9], 2, 0.0, None),
        ([1.0, -INF, 0.9], 3, 0.0, None),
        ([1.0, -INF, INF], 2, 0.0, 2),
        ([], 1, 0.0, None),
    ],
)
def test_early_stopping_on_a_loss(values: list[float], patience: int, min_delta: float, expected: int | None) -> None:
    assert would_stop_at(values, patience, min_delta, "min") == expected


def test_early_stopping_on_an_accuracy() -> None:
    accuracy = [0.5, 0.6, 0.7, 0.69, NAN, 0.68, 0.9]
    assert would_stop_at(accuracy, 3, 0.0, "max") == 5
    assert would_stop_at(accuracy, 4, 0.0, "max") is None
    assert would_stop_at(accuracy, 2, 0.0, "min") == 2


def test_early_stopping_refuses_what_it_cannot_count() -> None:
    for patience, min_delta, mode in ((0, 0.0, "min"), (1, -0.1, "min"), (1, NAN, "min"), (1, 0.0, "lowest")):
        with pytest.raises(ValueError, match="would_stop_at got"):
            would_stop_at([1.0], patience, min_delta, mode)  # type: ignore[arg-type]
