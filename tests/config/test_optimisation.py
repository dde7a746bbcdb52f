"""What is refused of optimizers and schedules before anything starts."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from terrablate.config.checks.optimisation import check_optim, check_schedule
from terrablate.config.schema.training import (
    SAM,
    SGD,
    MultiStepSchedule,
    RMSprop,
    SAMAdamW,
    StepSchedule,
    TimmOptim,
    Trainer,
)
from terrablate.errors import ConfigError

RATES: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
PLAIN = SGD(name="sgd", optimizer="sgd", **RATES)
SHARP = SAM(name="sam", optimizer="sam", rho=0.05, momentum=0.9, **RATES)
SHARP_ADAMW = SAMAdamW(name="sam_adamw", optimizer="sam_adamw", rho=0.05, betas=[0.9, 0.99], **RATES)
TIMM = TimmOptim(name="timm", optimizer="timm", timm_name="lion", **RATES)
RMS = RMSprop(name="rmsprop", optimizer="rmsprop", alpha=0.99, **RATES)
CPU = Trainer(name="cpu", accelerator="cpu", devices=1, strategy="auto", precision="32", checkpoint_seconds=0.0)
HALF, DDP = dataclasses.replace(CPU, precision="16"), dataclasses.replace(CPU, strategy="ddp")
STEP = StepSchedule(name="step", schedule="step", every=5, gamma=0.1)
MULTI = MultiStepSchedule(name="multistep", schedule="multistep", milestones=[0.5, 0.75], unit="budget", gamma=0.1)


@pytest.mark.parametrize(
    ("optim", "change", "trainer", "expected"),
    [
        (PLAIN, {"nesterov": True}, CPU, "optim.nesterov=true: needs optim.momentum above 0"),
        (SHARP, {"nesterov": True, "momentum": 0.0}, CPU, "optim.nesterov=true: needs optim.momentum above 0"),
        (PLAIN, {"weight_decay_all": True, "weight_decay": 0.0}, CPU, "optim.weight_decay_all=true: changes nothing"),
        (SHARP, {}, HALF, "optim=sam: computes gradients twice a step, which trainer.precision=16 does not allow"),
        (SHARP_ADAMW, {}, HALF, "optim=sam_adamw: computes gradients twice a step"),
        (SHARP, {"accumulate": 2}, CPU, "optim.accumulate=2: sam climbs by the gradient of one batch; leave it at 1"),
        (TIMM, {"timm_name": "lyon"}, CPU, "optim.timm_name=lyon: timm has no optimizer of this name; did you mean li"),
        (TIMM, {"timm_name": "qqqqq"}, CPU, "optim.timm_name=qqqqq: timm has no optimizer of this name; it has adabel"),
        (TIMM, {"timm_name": "Lion"}, CPU, "optim.timm_name=Lion: timm has no optimizer of this name; did you mean li"),
        (TIMM, {"timm_name": "x_lion"}, CPU, "optim.timm_name=x_lion: timm has no optimizer of this name; did you me"),
        (TIMM, {"timm_name": "bnblion"}, CPU, "optim.timm_name=bnblion: it cannot be used here: it needs the package "),
        (TIMM, {"timm_name": "adahessian"}, CPU, "optim.timm_name=adahessian: it cannot be used here: it needs second"),
        (TIMM, {"kwargs": {"beta": 1}}, CPU, "optim.kwargs.beta: lion takes no such argument (did you mean betas?); "),
        (
            TIMM,
            {"kwargs": {"momentum": 0.9}},
            CPU,
            "optim.kwargs.momentum: lion takes no such argument; allowed: betas",
        ),
        (TIMM, {"kwargs": {"lr": 0.1}}, CPU, "optim.kwargs.lr: it is a key of its own; write optim.lr=0.1"),
        (RMS, {"fused": True}, CPU, "optim.fused=true: optim=rmsprop has no fused step; leave it at auto, or use"),
        (TIMM, {"fused": True}, CPU, "optim.fused=true: optim=timm has no fused step"),
        (PLAIN, {"fused": True, "clip_norm": 0.5}, HALF, "optim.clip_norm=0.5: with trainer.precision=16 a fused step"),
        (TIMM, {"timm_name": "kron"}, DDP, "optim.timm_name=kron: its random numbers would differ between devices"),
    ],
)
def test_what_cannot_work_is_refused(optim: Any, change: dict[str, Any], trainer: Trainer, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_optim(dataclasses.replace(optim, **change), trainer)
    assert str(refused.value).startswith(expected)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("optim", "trainer"),
    [
        (PLAIN, HALF),
        (dataclasses.replace(PLAIN, accumulate=4), DDP),
        (dataclasses.replace(PLAIN, nesterov=True, momentum=0.5), CPU),
        (dataclasses.replace(PLAIN, weight_decay_all=True), CPU),
        (SHARP, DDP),
        (SHARP_ADAMW, CPU),
        (TIMM, DDP),
        (dataclasses.replace(TIMM, timm_name="lookahead_radam", kwargs={"betas": [0.9, 0.99]}), CPU),
        (dataclasses.replace(TIMM, timm_name="kron"), CPU),
        (dataclasses.replace(TIMM, timm_name="kron", kwargs={"deterministic": True}), DDP),
    ],
)
def test_what_works_passes(optim: Any, trainer: Trainer) -> None:
    check_optim(optim, trainer)


@pytest.mark.parametrize(
    ("schedule", "change", "epochs", "expected"),
    [
        (STEP, {}, 5, "schedule.every=5: the learning rate would never fall, since epochs=5; use less"),
        (MULTI, {"milestones": [0.7, 0.5]}, 5, "schedule.milestones=[0.7, 0.5]: they must rise"),
        (MULTI, {"milestones": [0.5, 0.5]}, 5, "schedule.milestones=[0.5, 0.5]: they must rise"),
        (MULTI, {"milestones": [0.5, 1.0]}, 5, "schedule.milestones=[0.5, 1.0]: the last one is never reached; with"),
        (MULTI, {"milestones": [30.0, 60.0]}, None, "schedule.milestones=[30.0, 60.0]: the last one is never reached"),
        (MULTI, {"milestones": [2, 5], "unit": "epochs"}, 5, "schedule.milestones=[2.0, 5.0]: the last one is never"),
    ],
)
def test_schedules_that_change_nothing_are_refused(
    schedule: Any, change: dict[str, Any], epochs: int | None, expected: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check_schedule(dataclasses.replace(schedule, **change), epochs)
    assert str(refused.value).startswith(expected)


def test_schedules_within_the_budget_pass() -> None:
    check_schedule(STEP, 6)
    check_schedule(STEP, None)
    check_schedule(MULTI, 2)
    check_schedule(dataclasses.replace(MULTI, milestones=[2, 4], unit="epochs"), 5)
    check_schedule(dataclasses.replace(MULTI, milestones=[2, 4], unit="epochs"), None)


def test_the_checks_import_neither_torch_nor_timm() -> None:
    program = f"""
import sys
from terrablate.config.checks.optimisation import check_optim
from terrablate.config.schema.training import TimmOptim, Trainer
check_optim(TimmOptim(**{dataclasses.asdict(TIMM)}), Trainer(**{dataclasses.asdict(CPU)}))
sys.exit(bool({{"torch", "timm"}} & set(sys.modules)))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
