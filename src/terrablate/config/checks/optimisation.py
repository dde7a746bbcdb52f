"""Checks of optim and schedule: values that are well typed and cannot work, or would change nothing."""

import difflib

from terrablate.config.schema.training import (
    SAM,
    SGD,
    AnyOptim,
    MultiStepSchedule,
    RMSprop,
    SAMAdamW,
    Schedule,
    StepSchedule,
    TimmOptim,
    Trainer,
)
from terrablate.errors import ConfigError


def check_optim(optim: AnyOptim, trainer: Trainer) -> None:
    """The optimizer, by itself and with the trainer.

    Raises:
        ConfigError: names the key, what was given and what is allowed.
    """
    if isinstance(optim, SGD | SAM) and optim.nesterov and optim.momentum == 0:
        raise ConfigError("optim.nesterov=true: needs optim.momentum above 0")
    if optim.weight_decay_all and optim.weight_decay == 0:
        raise ConfigError("optim.weight_decay_all=true: changes nothing while optim.weight_decay=0")
    if isinstance(optim, SAM | SAMAdamW):
        if trainer.precision == "16":
            raise ConfigError(
                f"optim={optim.name}: computes gradients twice a step, which trainer.precision=16 does not allow;"
                " use 32 or bf16"
            )
        if optim.accumulate > 1:
            raise ConfigError(
                f"optim.accumulate={optim.accumulate}: {optim.name} climbs by the gradient of one batch; leave it at 1"
            )
    if optim.fused is True:
        _check_fused(optim, trainer)
    if isinstance(optim, TimmOptim):
        _check_timm(optim, trainer)


def check_schedule(schedule: Schedule, epochs: int | None) -> None:
    """The schedule against the budget.

    Args:
        schedule: its section.
        epochs: of the budget; None for a budget in steps.

    Raises:
        ConfigError: if the learning rate would never fall, or milestones do not rise.
    """
    if isinstance(schedule, StepSchedule) and epochs is not None and schedule.every >= epochs:
        raise ConfigError(
            f"schedule.every={schedule.every}: the learning rate would never fall, since epochs={epochs}; use less"
        )
    if isinstance(schedule, MultiStepSchedule):
        given = f"schedule.milestones={schedule.milestones}"
        if sorted(set(schedule.milestones)) != schedule.milestones:
            raise ConfigError(f"{given}: they must rise")
        end = 1 if schedule.unit == "budget" else epochs
        if end is not None and schedule.milestones[-1] >= end:
            limit = "1, the whole budget" if schedule.unit == "budget" else f"epochs={end}"
            raise ConfigError(
                f"{given}: the last one is never reached; with schedule.unit={schedule.unit} use less than {limit}"
            )


def _check_fused(optim: AnyOptim, trainer: Trainer) -> None:
    if isinstance(optim, RMSprop | TimmOptim):
        raise ConfigError(
            f"optim.fused=true: optim={optim.name} has no fused step; leave it at auto, or use an optimizer that has"
            " one, such as sgd, momentum, adam, adamw or sam"
        )
    if optim.clip_norm is not None and trainer.precision == "16":
        raise ConfigError(
            f"optim.clip_norm={optim.clip_norm:g}: with trainer.precision=16 a fused step takes the scale of the loss"
            " out of the gradients itself, after they would be clipped; leave optim.fused at auto, or use 32 or bf16"
        )


def _check_timm(optim: TimmOptim, trainer: Trainer) -> None:
    from terrablate.training.timm_optimizers import LOOKAHEAD, obstacle, optimizer_arguments, optimizer_names

    given, names = f"optim.timm_name={optim.timm_name}", optimizer_names()
    if reason := obstacle(optim.timm_name):
        raise ConfigError(f"{given}: it cannot be used here: {reason}")
    if optim.timm_name.removeprefix(LOOKAHEAD) not in names:
        near = difflib.get_close_matches(optim.timm_name.removeprefix(LOOKAHEAD).lower(), names, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(sorted(names))}"
        raise ConfigError(f"{given}: timm has no optimizer of this name{hint}")
    allowed = optimizer_arguments(optim.timm_name)
    for key in optim.kwargs:
        if key in ("lr", "weight_decay"):
            raise ConfigError(f"optim.kwargs.{key}: it is a key of its own; write optim.{key}={optim.kwargs[key]}")
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigError(
                f"optim.kwargs.{key}: {optim.timm_name} takes no such argument{hint};"
                f" allowed: {', '.join(sorted(allowed))}"
            )
    if "deterministic" in allowed and trainer.strategy == "ddp" and not optim.kwargs.get("deterministic"):
        raise ConfigError(
            f"{given}: its random numbers would differ between devices, and so would the weights; add"
            " +optim.kwargs.deterministic=true"
        )
