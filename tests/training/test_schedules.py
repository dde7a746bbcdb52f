"""Learning rates by step: by hand, against torch's own, for each parameter group, over a resumed run."""

import io
import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from terrablate.config.schema.training import (
    ConstantSchedule,
    CosineSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)
from terrablate.training.schedules import make_plateau_schedule, make_step_schedule, schedule_factor

CONSTANT = ConstantSchedule(name="constant", schedule="constant")
WARMED = ConstantSchedule(name="constant", schedule="constant", warmup=0.4)


def step(every: int = 2, gamma: float = 0.1, warmup: float = 0.0) -> StepSchedule:
    return StepSchedule(name="step", schedule="step", every=every, gamma=gamma, warmup=warmup)


def multistep(
    milestones: Sequence[float] = (0.5, 0.75), unit: str = "budget", gamma: float = 0.1, warmup: float = 0.0
) -> MultiStepSchedule:
    return MultiStepSchedule(
        name="multistep", schedule="multistep", milestones=list(milestones), unit=unit, gamma=gamma, warmup=warmup
    )  # type: ignore[arg-type]


def cosine(warmup: float = 0.0, final: float = 0.0) -> CosineSchedule:
    return CosineSchedule(name="cosine", schedule="cosine", warmup=warmup, final=final)


def onecycle(rise: float = 0.3, start: float = 0.04, final: float = 0.0) -> OneCycleSchedule:
    return OneCycleSchedule(name="onecycle", schedule="onecycle", rise=rise, start=start, final=final)


def plateau(factor: float = 0.5, patience: int = 1, threshold: float = 0.01) -> PlateauSchedule:
    return PlateauSchedule(name="plateau", schedule="plateau", factor=factor, patience=patience, threshold=threshold)


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=99.0)


def factors(schedule: Schedule, total_steps: int, steps_per_epoch: int = 5) -> list[float]:
    factor = schedule_factor(schedule, total_steps, steps_per_epoch)
    assert factor is not None
    return [factor(each) for each in range(total_steps)]


STEPPED = [WARMED, step(), step(warmup=0.2), multistep(), multistep(warmup=0.2), cosine(0.1, 0.2), onecycle()]


# --- constant


@pytest.mark.parametrize("schedule", [CONSTANT, plateau()])
def test_the_step_does_not_change_the_rate_of_other_schedules(schedule: Schedule) -> None:
    assert make_step_schedule(optimizer(0.1), schedule, 10, 5) is None


def test_constant_with_warmup_rises_linearly_and_stays() -> None:
    assert factors(WARMED, 10) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]


# --- step and multistep


def test_step_falls_every_few_epochs() -> None:
    assert factors(step(every=2, gamma=0.5), 15, steps_per_epoch=3) == [1] * 6 + [0.5] * 6 + [0.25] * 3


def test_step_is_torchs() -> None:
    theirs = optimizer(1.0)
    schedule = torch.optim.lr_scheduler.StepLR(theirs, step_size=6, gamma=0.3)
    for expected in factors(step(every=2, gamma=0.3), 20, steps_per_epoch=3):
        assert theirs.param_groups[0]["lr"] == pytest.approx(expected)
        theirs.step()
        schedule.step()


def test_multistep_falls_at_shares_of_the_budget() -> None:
    assert factors(multistep([0.5, 0.8], gamma=0.5), 10) == [1] * 5 + [0.5] * 3 + [0.25] * 2


def test_multistep_falls_at_epochs() -> None:
    values = factors(multistep([1, 2.5], unit="epochs", gamma=0.5), 8, steps_per_epoch=2)
    assert values == [1] * 2 + [0.5] * 3 + [0.25] * 3


def test_the_warmup_scales_what_falls_meanwhile() -> None:
    values = factors(multistep([0.2], gamma=0.5, warmup=0.4), 10)
    assert values == pytest.approx([0.25, 0.5, 0.375, 0.5, *[0.5] * 6])
    assert factors(step(every=1, gamma=0.5, warmup=0.4), 10, 5)[:6] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.5])


# --- cosine


def test_cosine_starts_above_zero_peaks_after_the_warmup_and_ends_at_its_final_share() -> None:
    factor = schedule_factor(cosine(warmup=0.1, final=0.2), 100, 10)
    assert factor is not None
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5)
    assert factor(9) == factor(10) == pytest.approx(1.0)
    assert factor(99) == pytest.approx(0.2)
    assert factor(100) == pytest.approx(0.2)  # the scheduler steps once after the last step
    assert factor(10 + 89 // 2) > factor(10 + 89 // 2 + 1)


def test_cosine_without_warmup_is_half_a_cosine() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * each / 10)) for each in range(11)]
    assert factors(cosine(), 11) == pytest.approx(expected)
    assert factors(cosine(), 11)[5] == pytest.approx(0.5)


# --- one cycle


@pytest.mark.parametrize(("total", "rise"), [(10, 0.3), (100, 0.3), (37, 0.25), (50, 0.9), (4, 0.5)])
def test_onecycle_has_the_rates_of_torchs(total: int, rise: float) -> None:
    theirs = optimizer(1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=1.0, total_steps=total, pct_start=rise, div_factor=25, final_div_factor=100, cycle_momentum=False
    )
    expected = []
    for number in range(total):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        if number < total - 1:
            schedule.step()
    assert factors(onecycle(rise, 1 / 25, 1 / 2500), total) == pytest.approx(expected)


def test_onecycle_by_hand() -> None:
    values = factors(onecycle(rise=0.6, start=0.2, final=0.1), 5)  # the peak is at step 2
    assert values == pytest.approx([0.2, 0.6, 1.0, 0.55, 0.1])


# --- all of them


@pytest.mark.parametrize("schedule", STEPPED)
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_few_steps_have_rates_above_zero_up_to_one_and_nothing_after_them_fails(schedule: Schedule, total: int) -> None:
    values = factors(schedule, total, steps_per_epoch=1)
    assert all(0 <= value <= 1 for value in values)
    assert values[0] > 0
    factor = schedule_factor(schedule, total, 1)
    assert factor is not None
    assert 0 <= factor(total) <= 1  # the scheduler steps once after the last step


@pytest.mark.parametrize("schedule", STEPPED)
def test_every_group_is_scaled_from_its_own_rate(schedule: Schedule) -> None:
    sgd = optimizer(0.5, 0.05)
    scheduled = make_step_schedule(sgd, schedule, 20, 5)
    assert scheduled is not None
    for expected in factors(schedule, 20):
        assert [group["lr"] for group in sgd.param_groups] == pytest.approx([0.5 * expected, 0.05 * expected])
        sgd.step()
        scheduled.step()


@pytest.mark.parametrize("schedule", STEPPED)
def test_a_resumed_run_has_the_rates_of_an_undisturbed_one_to_the_bit(schedule: Schedule) -> None:
    def rates(sgd: torch.optim.Optimizer, scheduled: torch.optim.lr_scheduler.LambdaLR, count: int) -> list[float]:
        seen = []
        for _ in range(count):
            seen.extend(group["lr"] for group in sgd.param_groups)
            sgd.step()
            scheduled.step()
        return seen

    def fresh() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        sgd = optimizer(0.3, 0.07)
        scheduled = make_step_schedule(sgd, schedule, 20, 5)
        assert scheduled is not None
        return sgd, scheduled

    whole = rates(*fresh(), 20)
    sgd, scheduled = fresh()
    begun = rates(sgd, scheduled, 7)
    file = io.BytesIO()
    torch.save([sgd.state_dict(), scheduled.state_dict()], file)
    file.seek(0)
    sgd, scheduled = fresh()
    states = torch.load(file, weights_only=True)
    sgd.load_state_dict(states[0])
    scheduled.load_state_dict(states[1])
    assert begun + rates(sgd, scheduled, 13) == whole


@pytest.mark.parametrize(
    ("schedule", "other"),
    [
        (CONSTANT, WARMED),
        (step(), step(every=1)),
        (step(), step(gamma=0.2)),
        (step(), step(warmup=0.2)),
        (multistep(), multistep([0.5])),
        (multistep([2]), multistep([2], unit="epochs")),
        (multistep(), multistep(gamma=0.2)),
        (multistep(), multistep(warmup=0.2)),
        (cosine(), cosine(warmup=0.2)),
        (cosine(), cosine(final=0.2)),
        (onecycle(), onecycle(rise=0.5)),
        (onecycle(), onecycle(start=0.1)),
        (onecycle(), onecycle(final=0.1)),
    ],
)
def test_every_key_changes_the_rates(schedule: Schedule, other: Schedule) -> None:
    neutral = [1.0] * 20
    assert (neutral if schedule is CONSTANT else factors(schedule, 20)) != pytest.approx(factors(other, 20))


# --- plateau


def falling(schedule: PlateauSchedule, nlls: Sequence[float]) -> list[float]:
    sgd = optimizer(1.0, 0.1)
    scheduled = make_plateau_schedule(sgd, schedule)
    assert scheduled is not None
    seen = []
    for nll in nlls:
        scheduled.step(nll)
        seen.append(sgd.param_groups[0]["lr"])
        assert sgd.param_groups[1]["lr"] == pytest.approx(0.1 * seen[-1])
    return seen


def test_plateau_lowers_the_rate_when_val_nll_stops_falling() -> None:
    # 0.895 is no improvement by 0.01 nats over 0.9, and patience is one evaluation
    seen = falling(plateau(factor=0.5, patience=1, threshold=0.01), [1.0, 0.9, 0.895, 0.896, 0.5, 0.5, 0.5])
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_the_threshold_of_plateau_is_in_nats_not_in_shares() -> None:
    assert falling(plateau(patience=0, threshold=0.01), [0.1, 0.095]) == [1.0, 0.5]  # 5 % better, yet only 0.005 nats


def test_plateau_lowers_small_rates_too() -> None:
    sgd = optimizer(1e-8)
    scheduled = make_plateau_schedule(sgd, plateau(patience=0))
    assert scheduled is not None
    for _ in range(2):
        scheduled.step(1.0)
    assert sgd.param_groups[0]["lr"] == 0.5e-8


def test_every_key_of_plateau_changes_the_rates() -> None:
    nlls = [1.0, 0.95, 0.95, 0.95, 0.95]
    base = falling(plateau(), nlls)
    assert base != falling(plateau(factor=0.3), nlls)
    assert base != falling(plateau(patience=0), nlls)
    assert base != falling(plateau(threshold=0.1), nlls)


@pytest.mark.parametrize("schedule", [CONSTANT, *STEPPED])
def test_val_nll_does_not_change_the_rate_of_other_schedules(schedule: Schedule) -> None:
    assert make_plateau_schedule(optimizer(0.1), schedule) is None
