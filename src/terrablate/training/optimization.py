"""Optimizers and learning-rate schedules from the config."""

import math
from collections.abc import Callable, Sequence

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from terrablate.config.schema import SGD, AdamW, ConstantSchedule, CosineSchedule, PlateauSchedule
from terrablate.models.finetune import RateGroup


def make_optimizer(rates: Sequence[RateGroup], optim: AdamW | SGD) -> torch.optim.Optimizer:
    """The optimizer over parameters that share rates; weight decay spares biases and norms (all of one dimension)."""
    groups = [
        {
            "name": f"{group.name}: {kind}",
            "params": [parameter for parameter in group.parameters if (parameter.ndim > 1) == decays],
            "lr": optim.lr * group.rate,
            "weight_decay": optim.weight_decay if decays else 0.0,
        }
        for group in rates
        for kind, decays in (("weights", True), ("biases and norms", False))
    ]
    groups = [group for group in groups if group["params"]]
    if isinstance(optim, AdamW):
        first, second = optim.betas
        return torch.optim.AdamW(groups, lr=optim.lr, betas=(first, second))
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov)


def make_step_schedule(
    optimizer: torch.optim.Optimizer, schedule: ConstantSchedule | CosineSchedule | PlateauSchedule, total_steps: int
) -> LambdaLR | None:
    """A schedule that is a function of the step; None where the learning rate does not depend on it."""
    if isinstance(schedule, CosineSchedule):
        return LambdaLR(optimizer, cosine_factor(schedule, total_steps))
    return None


def make_plateau_schedule(
    optimizer: torch.optim.Optimizer, schedule: ConstantSchedule | CosineSchedule | PlateauSchedule
) -> ReduceLROnPlateau | None:
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


def cosine_factor(schedule: CosineSchedule, total_steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at a step: linear up to 1, then half a cosine to `final` at the last step."""
    warmup = round(schedule.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
