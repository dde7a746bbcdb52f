"""The verdict of the overfitting diagnosis on curves made by hand: what overfits, fits, underfits, diverges."""

import math
import random

import pytest

from loss_curves import FIT_PROBE, FIT_VAL, INF, NAN, OVERFIT_PROBE, OVERFIT_VAL, verdict_of

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
