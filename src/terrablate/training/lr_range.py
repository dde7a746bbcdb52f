"""The learning-rate range test (Smith 2017): train a few steps with a growing rate, and see where the loss falls.

https://arxiv.org/abs/1506.01186, section 3.3. Weights, optimizer and random streams change meanwhile: the caller makes
copies before and puts them back, or trains something that it throws away.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from terrablate.errors import ConfigError

SMOOTHING = 0.9
"""Share of the past in the average of the losses."""

DIVERGENCE = 4.0
"""A smoothed loss so many times its lowest ends the test."""

_SETTLING = 0.1
"""Share of the steps at the beginning whose average rests on too few losses to suggest anything."""


@dataclass(frozen=True)
class RangeTest:
    """The curve of a range test, one entry a step."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """As `train_step` gave them, all finite."""
    smoothed: tuple[float, ...]
    suggestion: float | None
    """Where the smoothed loss falls fastest; None where it does not fall."""
    diverged: bool
    """Whether the test ended because of its loss."""


def range_test(
    train_step: Callable[[float], float], lowest: float = 1e-6, highest: float = 10.0, steps: int = 100
) -> RangeTest:
    """Train with rates that grow exponentially, until the loss is no number, or far above its lowest, or the end.

    Args:
        train_step: takes a learning rate, trains one step with it, gives the loss of that step (0 or more).
        lowest: first rate.
        highest: last rate.
        steps: from the first to the last.

    Raises:
        ValueError: for fewer than 10 steps, or rates that do not grow.
        ConfigError: if the very first loss is no finite number.
    """
    if steps < 10 or not 0 < lowest < highest:
        raise ValueError(f"{steps} steps from {lowest} to {highest}: needs 10 or more, from a low rate to a higher one")
    rates: list[float] = []
    losses: list[float] = []
    curve: list[float] = []
    for step in range(steps):
        rate = lowest * (highest / lowest) ** (step / (steps - 1))
        loss = train_step(rate)
        diverged = not math.isfinite(loss)
        if diverged:
            break
        rates.append(rate)
        losses.append(loss)
        curve = smoothed(losses)
        diverged = curve[-1] > DIVERGENCE * min(curve)
        if diverged:
            break
    if not rates:
        raise ConfigError(
            f"lr_find=true: the loss is {loss} before anything is trained; look at data and network first"
        )
    suggestion = suggest(rates, curve, round(_SETTLING * steps))
    return RangeTest(tuple(rates), tuple(losses), tuple(curve), suggestion, diverged)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential average of the losses so far, corrected for its start at 0, as Adam corrects its moments."""
    found: list[float] = []
    average = 0.0
    for count, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        found.append(average / (1 - SMOOTHING**count))
    return found


def suggest(rates: Sequence[float], curve: Sequence[float], settling: int = 0) -> float | None:
    """The rate where the curve is steepest on its way down to its minimum, per factor of the rate; None if nowhere.

    It is well below the rate of the minimum, where the average only turns because steps diverge already.

    Args:
        rates: growing exponentially.
        curve: smoothed losses.
        settling: so many entries at the beginning are passed over.
    """
    if len(curve) < settling + 3:
        return None
    bottom = min(range(settling, len(curve)), key=curve.__getitem__)
    slopes = {middle: curve[middle + 1] - curve[middle - 1] for middle in range(settling + 1, bottom)}
    steepest = min(slopes, key=slopes.__getitem__, default=None)
    return None if steepest is None or slopes[steepest] >= 0 else rates[steepest]


def draw_range_test(file: IO[bytes], title: str, test: RangeTest) -> None:
    """Losses and their average against the rate, with the suggestion marked, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="0.75", linewidth=1, label="loss of a step")
    axes.plot(test.rates, test.smoothed, color="#0072B2", label="smoothed")
    if test.suggestion is not None:
        label = f"steepest: {test.suggestion:.2g}"
        axes.axvline(test.suggestion, color="#D55E00", linestyle="--", linewidth=1.2, label=label)
    axes.set(xscale="log", xlabel="learning rate", ylabel="training objective", title=title)
    low, high = min(test.losses), max(test.smoothed[: test.smoothed.index(min(test.smoothed)) + 1])
    margin = 0.1 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)  # what diverges leaves the picture, which shows the way down
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(file, format="png", dpi=130)
