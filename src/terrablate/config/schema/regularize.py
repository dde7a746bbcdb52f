"""Sections of regularize: any subset of them makes the group, each under the name of its choice."""

import math
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Count, DropRate, Fraction, NonNegative, Positive

Part = Annotated[float, Strict(), Field(gt=0, le=1)]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class L1:
    """The sum of the absolute weights is added to the loss."""

    weight: NonNegative


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class L2SP:
    """The squared distance to the pretrained weights is added to the loss."""

    weight: NonNegative
    head_weight: NonNegative


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class EMA:
    """An exponential moving average of the weights is evaluated and deployed."""

    decay: DropRate


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SWA:
    """The mean of the weights at the ends of the last epochs is evaluated and deployed."""

    start: DropRate


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Adversarial:
    """Training on images that were changed so that the loss rises."""

    epsilon: NonNegative
    steps: Count
    step_size: Positive | None
    share: Part


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SmoothInputGradient:
    """The squared gradient of the loss with respect to the image is added to the loss."""

    weight: NonNegative


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Consistency:
    """Images without labels must be answered alike, augmented or not."""

    weight: NonNegative
    ratio: Count
    temperature: Positive
    confidence: DropRate
    ramp_up: Fraction


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Prune:
    """Whole channels are removed from the network while it trains."""

    amount: DropRate
    start: Fraction
    end: Fraction
    rounds: Count
    importance: Literal["l1", "l2", "random"]
    scope: Literal["uniform", "global"]

    def events(self, epochs: int) -> dict[int, float]:
        """The epochs, counted from 1, at whose end channels go, and the share that is gone from then on.

        At least one epoch follows the last. Rounds that fall on one epoch are one.

        Args:
            epochs: of the budget.
        """
        found: dict[int, float] = {}
        if self.amount == 0 or epochs < 2:
            return found
        for number in range(self.rounds):
            place = self.start + (self.end - self.start) * number / max(self.rounds - 1, 1)
            epoch = min(max(math.ceil(place * epochs - 1e-9), 1), epochs - 1)
            found[epoch] = self.amount * (number + 1) / self.rounds
        return found


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Regularize:
    """Those that were chosen; none is the neutral element."""

    l1: L1 | None = None
    l2_sp: L2SP | None = None
    ema: EMA | None = None
    swa: SWA | None = None
    adversarial: Adversarial | None = None
    smooth_input_gradient: SmoothInputGradient | None = None
    consistency: Consistency | None = None
    prune: Prune | None = None

    @property
    def chosen(self) -> dict[str, Any]:
        """The sections that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: section for name, section in found.items() if section is not None}

    @property
    def name(self) -> str:
        """The level of a study: names joined by a plus sign, in one order however they were given; or `none`."""
        return "+".join(self.chosen) or "none"
