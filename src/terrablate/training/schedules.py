"""Learning-rate schedules: the rate of a step as a share of each parameter group's own, and one that follows val NLL.

A share is a function of the step and the length of the budget, so that a resumed run has the rates of an undisturbed
one. Every function below counts optimizer steps from 0; the last of a budget is `total_steps - 1`.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from terrablate.config.schema.training import (
    ConstantSchedule,
    CosineSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)

type Factor = Callable[[int], float]
"""From the step to the learning rate as a share of the optimizer's."""


def make_step_schedule(
    optimizer: torch.optim.Optimizer, schedule: Schedule, total_steps: int, steps_per_epoch: int
) -> LambdaLR | None:
    """A schedule that is a function of the step; None where the learning rate does not depend on it.

    Args:
        optimizer: whose parameter groups have their highest rates.
        schedule: the section of the config.
        total_steps: optimizer steps of the whole budget.
        steps_per_epoch: optimizer steps of an epoch.
    """
    factor = schedule_factor(schedule, total_steps, steps_per_epoch)
    return None if factor is None else LambdaLR(optimizer, factor)


def make_plateau_schedule(optimizer: torch.optim.Optimizer, schedule: Schedule) -> ReduceLROnPlateau | None:
    """A schedule that follows val NLL; None for others."""
    if isinstance(schedule, PlateauSchedule):
        return ReduceLROnPlateau(
            optimizer,
            factor=schedule.factor,
            patience=schedule.patience,
            threshold=schedule.threshold,
            threshold_mode="abs",
            eps=0.0,  # by default reductions below 1e-8 are left out, which the first stages' rates may need
        )
    return None


def schedule_factor(schedule: Schedule, total_steps: int, steps_per_epoch: int) -> Factor | None:
    """The share of the learning rate at each step; None for schedules that do not follow the step."""
    match schedule:
        case ConstantSchedule(warmup=0.0) | PlateauSchedule():
            return None
        case ConstantSchedule():
            return warmed_up(lambda _: 1.0, round(schedule.warmup * total_steps))
        case StepSchedule():
            falling = step_factor(schedule.gamma, schedule.every * steps_per_epoch)
            return warmed_up(falling, round(schedule.warmup * total_steps))
        case MultiStepSchedule():
            unit = total_steps if schedule.unit == "budget" else steps_per_epoch
            falling = multistep_factor(schedule.gamma, [round(each * unit) for each in schedule.milestones])
            return warmed_up(falling, round(schedule.warmup * total_steps))
        case CosineSchedule():
            return cosine_factor(schedule, total_steps)
        case OneCycleSchedule():
            return onecycle_factor(schedule, total_steps)


def warmed_up(factor: Factor, warmup: int) -> Factor:
    """A schedule that is scaled linearly from 1 / warmup to 1 over its first `warmup` steps.

    Goyal et al. 2017, section 2.2: https://arxiv.org/abs/1706.02677
    """
    return lambda step: factor(step) * min(1.0, (step + 1) / max(1, warmup))


def step_factor(gamma: float, every: int) -> Factor:
    """Falls by the factor gamma every so many steps."""
    return lambda step: gamma ** (step // every)


def multistep_factor(gamma: float, milestones: Sequence[int]) -> Factor:
    """Falls by the factor gamma at each milestone: the step given there is the first with the lower rate."""
    return lambda step: gamma ** sum(step >= each for each in milestones)


def cosine_factor(schedule: CosineSchedule, total_steps: int) -> Factor:
    """Factor of the learning rate at a step: linear up to 1, then half a cosine to `final` at the last step.

    Loshchilov and Hutter 2017, without restarts: https://arxiv.org/abs/1608.03983
    """
    warmup = round(schedule.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def onecycle_factor(schedule: OneCycleSchedule, total_steps: int) -> Factor:
    """From `start` up to 1 in the share `rise` of the budget, then down to `final` at the last step, by half cosines.

    Smith and Topin 2018, https://arxiv.org/abs/1708.07120, in the form of torch's OneCycleLR with two phases, whose
    learning rates these are. Momentum is left as it is, where the paper lets it fall and rise against the rate.
    """
    peak = max(0.0, schedule.rise * total_steps - 1)

    def factor(step: int) -> float:
        if step < peak:
            return _half_cosine(schedule.start, 1.0, step / peak)
        return _half_cosine(1.0, schedule.final, min(1.0, (step - peak) / max(1.0, total_steps - 1 - peak)))

    return factor


def _half_cosine(begin: float, end: float, progress: float) -> float:
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * progress))
