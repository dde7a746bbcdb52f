"""The learning-rate range test: on a quadratic whose best rate is known, on losses that fail, and its picture."""

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from terrablate.errors import ConfigError
from terrablate.training.lr_range import (
    DIVERGENCE,
    SMOOTHING,
    RangeCurve,
    RangeTest,
    draw_range_test,
    smoothed,
    suggest,
)


def range_test(train_step: Callable[[float], float], *settings: float, steps: int = 100) -> RangeTest:
    curve = RangeCurve(*settings, steps=steps)
    while not curve.ended:
        curve.add(train_step(curve.rate))
    return curve.result()


def descent(curvature: float, seen: list[float] | None = None) -> Callable[[float], float]:
    """Gradient descent on half h w^2: best rate 1 / h, divergence above 2 / h."""
    weight = 1.0

    def step(rate: float) -> float:
        nonlocal weight
        loss = 0.5 * curvature * weight**2
        weight -= rate * curvature * weight
        if seen is not None:
            seen.append(rate)
        return loss

    return step


@pytest.mark.parametrize("curvature", [0.3, 1.0, 20.0, 100.0])
def test_the_suggestion_is_within_a_decade_below_the_best_rate_of_a_quadratic(curvature: float) -> None:
    test = range_test(descent(curvature), 1e-5, 100, steps=100)
    assert test.suggestion is not None
    assert 0.1 / curvature < test.suggestion < 1 / curvature
    assert test.diverged
    assert test.rates[-1] > 2 / curvature


def test_a_steeper_problem_gets_a_rate_that_is_lower_by_the_same_factor() -> None:
    flat, steep = (range_test(descent(curvature), 1e-6, 100, steps=161).suggestion for curvature in (1.0, 100.0))
    assert flat is not None
    assert steep is not None
    assert flat / steep == pytest.approx(100)  # 20 steps a decade


def test_rates_grow_exponentially_from_the_lowest_to_the_highest() -> None:
    seen: list[float] = []
    test = range_test(descent(1e-3, seen), 1e-4, 1.0, steps=41)
    assert tuple(seen) == test.rates
    assert len(seen) == 41
    assert not test.diverged
    assert (seen[0], seen[10], seen[-1]) == pytest.approx((1e-4, 1e-3, 1.0))


def test_the_average_is_corrected_for_its_start() -> None:
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    two = (SMOOTHING * (1 - SMOOTHING) * 1 + (1 - SMOOTHING) * 2) / (1 - SMOOTHING**2)
    assert smoothed([1.0, 2.0]) == pytest.approx([1.0, two])


def test_a_loss_that_is_no_number_ends_the_test_and_stays_out_of_the_curve() -> None:
    losses = iter([3.0] * 10 + [2.0, 1.0, math.nan, 0.0])
    test = range_test(lambda rate: next(losses), steps=20)
    assert test.diverged
    assert len(test.rates) == len(test.losses) == len(test.smoothed) == 12
    assert next(losses) == 0.0  # no step more


def test_a_loss_far_above_the_lowest_ends_the_test() -> None:
    losses = iter([1.0] * 10 + [100.0] * 10)
    test = range_test(lambda rate: next(losses), steps=20)
    assert test.diverged
    assert test.smoothed[-1] > DIVERGENCE
    assert len(test.rates) == 11


def test_a_first_loss_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="lr_find=true: the loss is nan before anything is trained"):
        range_test(lambda rate: math.nan)


@pytest.mark.parametrize("losses", [[1.0] * 20, [1.0 + 0.01 * step for step in range(20)]])
def test_nothing_is_suggested_where_the_loss_does_not_fall(losses: list[float]) -> None:
    each = iter(losses)
    assert range_test(lambda rate: next(each), steps=20).suggestion is None


def test_the_suggestion_is_the_steepest_place_before_the_minimum() -> None:
    rates = [10.0**power for power in range(8)]
    assert suggest(rates, [9, 8, 7, 4, 1, 0, 5, -1 + 5]) == 1e3
    assert suggest(rates, [9, 2, 1.9, 1.8, 1.2, 1, 5, 5], settling=2) == 1e4  # the fall at the beginning is passed over
    assert suggest(rates, [9, 8, 7], settling=1) is None


@pytest.mark.parametrize(("lowest", "highest", "steps"), [(1.0, 0.1, 50), (0.0, 1.0, 50), (1e-3, 1.0, 9)])
def test_senseless_ranges_are_refused(lowest: float, highest: float, steps: int) -> None:
    with pytest.raises(ValueError, match="needs 10 or more, from a low rate to a higher one"):
        range_test(descent(1.0), lowest, highest, steps=steps)


@pytest.mark.parametrize("losses", [[3.0 - 0.1 * step for step in range(20)], [1.0] * 20])
def test_the_curve_becomes_a_picture(losses: list[float]) -> None:
    each = iter(losses)
    file = io.BytesIO()
    draw_range_test(file, "test", range_test(lambda rate: next(each), steps=20))
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500


def test_the_suggestion_is_marked_in_the_picture() -> None:
    pictures = []
    for marked in (True, False):
        test = range_test(descent(1.0), 1e-5, 100, steps=100)
        object.__setattr__(test, "suggestion", test.suggestion if marked else None)
        file = io.BytesIO()
        draw_range_test(file, "test", test)
        with Image.open(file) as picture:
            pictures.append(int((np.asarray(picture.convert("RGB")) == (0xD5, 0x5E, 0x00)).all(axis=2).sum()))
    assert pictures[0] > 100
    assert pictures[1] == 0
