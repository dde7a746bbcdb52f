"""The learning-rate range test (Smith 2017): train a few steps with a growing rate, and see where the loss falls.

https://arxiv.org/abs/1506.01186, section 3.3. What is trained is thrown away: `terrablate.training.find_rate`.
"""

import math
from collections.abc import Sequence
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
    """Of the steps, all finite."""
    smoothed: tuple[float, ...]
    suggestion: float | None
    """Where the smoothed loss falls fastest; None where it does not fall."""
    diverged: bool
    """Whether the test ended because of its loss."""


class RangeCurve:
    """A range test step by step, until the loss is no number, or far above its lowest, or the highest rate was tried.

    Args:
        lowest: first rate.
        highest: last rate.
        steps: from the first to the last, with rates that grow exponentially.

    Raises:
        ValueError: for fewer than 10 steps, or rates that do not grow.
    """

    def __init__(self, lowest: float = 1e-6, highest: float = 10.0, steps: int = 100) -> None:
        if steps < 10 or not 0 < lowest < highest:
            raise ValueError(
                f"{steps} steps from {lowest} to {highest}: needs 10 or more, from a low rate to a higher one"
            )
        self.lowest, self.highest, self.steps = lowest, highest, steps
        self._rates: list[float] = []
        self._losses: list[float] = []
        self._diverged = False

    @property
    def done(self) -> int:
        """Steps taken."""
        return len(self._rates)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.lowest * (self.highest / self.lowest) ** (self.done / (self.steps - 1))

    @property
    def ended(self) -> bool:
        """Whether there is no next step."""
        return self._diverged or self.done == self.steps

    def add(self, loss: float) -> None:
        """Take the loss (0 or more) of a step that was trained with `rate`.

        Raises:
            ConfigError: if the very first loss is no finite number.
        """
        if not math.isfinite(loss):
            if not self._rates:
                raise ConfigError(
                    f"lr_find=true: the loss is {loss} before anything is trained; look at data and network first"
                )
            self._diverged = True
            return
        self._rates.append(self.rate)
        self._losses.append(loss)
        curve = smoothed(self._losses)
        self._diverged = curve[-1] > DIVERGENCE * min(curve)

    def result(self) -> RangeTest:
        """The curve so far, and what it suggests."""
        curve = smoothed(self._losses)
        suggestion = suggest(self._rates, curve, round(_SETTLING * self.steps))
        return RangeTest(tuple(self._rates), tuple(self._losses), tuple(curve), suggestion, self._diverged)


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
