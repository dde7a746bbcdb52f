"""Optimizers and schedules: arguments arrive, weight decay spares what it should, the learning rate by step."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import SGD, AdamW, ConstantSchedule, CosineSchedule, PlateauSchedule
from terrablate.models.finetune import RateGroup
from terrablate.models.networks import SmallCNN
from terrablate.models.norm import apply_norm
from terrablate.training.optimization import (
    cosine_factor,
    make_optimizer,
    make_plateau_schedule,
    make_step_schedule,
)

CONSTANT = ConstantSchedule(name="constant", schedule="constant")


def adamw(lr: float = 0.01, weight_decay: float = 0.1) -> AdamW:
    return AdamW(name="adamw", optimizer="adamw", lr=lr, weight_decay=weight_decay, betas=[0.8, 0.95])


def sgd(lr: float = 0.1, weight_decay: float = 0.1, momentum: float = 0.0, nesterov: bool = False) -> SGD:
    return SGD(name="sgd", optimizer="sgd", lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)


def cosine(warmup: float, final: float = 0.0) -> CosineSchedule:
    return CosineSchedule(name="cosine", schedule="cosine", warmup=warmup, final=final)


def plateau(factor: float = 0.5, patience: int = 1, threshold: float = 0.01) -> PlateauSchedule:
    return PlateauSchedule(name="plateau", schedule="plateau", factor=factor, patience=patience, threshold=threshold)


@pytest.fixture
def network(compose: Callable[..., Config]) -> nn.Module:
    torch.manual_seed(0)
    network = SmallCNN(3, 5, 4, "before")
    apply_norm(network, compose("norm=batch").norm)
    return network


def whole(network: nn.Module) -> list[RateGroup]:
    return [RateGroup("network", [p for p in network.parameters() if p.requires_grad], 1.0)]


def halves(network: nn.Module, rate: float) -> list[RateGroup]:
    """The head, and the features at a share of its rate."""
    head, features = network.get_submodule("head"), network.get_submodule("features")
    return [RateGroup("head", list(head.parameters()), 1.0), RateGroup("features", list(features.parameters()), rate)]


def rates(optimizer: torch.optim.Optimizer) -> set[float]:
    return {group["lr"] for group in optimizer.param_groups}


# --- optimizers


@pytest.mark.parametrize("optim", [adamw(), sgd()])
def test_weight_decay_spares_biases_and_norms(network: nn.Module, optim: AdamW | SGD) -> None:
    optimizer = make_optimizer(whole(network), optim)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: decay[id(parameter)] for name, parameter in network.named_parameters()}
    assert len(decay) == len(by_name) == len(list(network.parameters()))
    decayed = {name for name, value in by_name.items() if value == 0.1}
    assert decayed == {*(f"features.block{n}.conv.weight" for n in range(1, 5)), "head.dense.weight"}
    assert {value for name, value in by_name.items() if name not in decayed} == {0.0}


@pytest.mark.parametrize("optim", [adamw(), sgd()])
def test_weight_decay_shrinks_weights_and_leaves_biases(network: nn.Module, optim: AdamW | SGD) -> None:
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(whole(network), optim).step()
    for name, parameter in network.named_parameters():
        shrunk = 1 - optim.lr * 0.1 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * shrunk)


def test_adamw_gets_its_arguments(network: nn.Module) -> None:
    optimizer = make_optimizer(whole(network), adamw(lr=0.02))
    assert type(optimizer) is torch.optim.AdamW
    assert rates(optimizer) == {0.02}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.95)}


def test_sgd_gets_its_arguments(network: nn.Module) -> None:
    optimizer = make_optimizer(whole(network), sgd(lr=0.3, momentum=0.7, nesterov=True))
    assert type(optimizer) is torch.optim.SGD
    assert rates(optimizer) == {0.3}
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.7, True)}


def test_plain_sgd_steps_along_the_gradient(network: nn.Module) -> None:
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    make_optimizer(whole(network), sgd(lr=0.3, weight_decay=0.0)).step()
    for old, parameter in zip(before, network.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), old - 0.3)


def test_frozen_parameters_are_left_out(network: nn.Module) -> None:
    network.get_submodule("features").requires_grad_(False)
    optimizer = make_optimizer(whole(network), adamw())
    assert [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]] == [(5, 32), (5,)]


@pytest.mark.parametrize("optim", [adamw(lr=0.1), sgd(lr=0.1)])
def test_each_group_has_its_share_of_the_rate_and_says_its_name(network: nn.Module, optim: AdamW | SGD) -> None:
    optimizer = make_optimizer(halves(network, 0.25), optim)
    found = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found == {
        "head: weights": (0.1, 0.1),
        "head: biases and norms": (0.1, 0.0),
        "features: weights": (0.025, 0.1),
        "features: biases and norms": (0.025, 0.0),
    }


@pytest.mark.parametrize("optim", [adamw(), sgd(momentum=0.9)])
def test_parameters_without_gradient_neither_decay_nor_move_by_momentum(network: nn.Module, optim: AdamW | SGD) -> None:
    optimizer = make_optimizer(whole(network), optim)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer.step()
    assert all(torch.equal(old, parameter) for old, parameter in zip(before, network.parameters(), strict=True))


# --- constant


@pytest.mark.parametrize("schedule", [CONSTANT, plateau()])
def test_the_step_does_not_change_the_rate_of_other_schedules(network: nn.Module, schedule: PlateauSchedule) -> None:
    assert make_step_schedule(make_optimizer(whole(network), adamw()), schedule, 10) is None


# --- cosine


def test_cosine_starts_above_zero_peaks_after_the_warmup_and_ends_at_its_final_share() -> None:
    factor = cosine_factor(cosine(warmup=0.1, final=0.2), 100)
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5)
    assert factor(9) == factor(10) == pytest.approx(1.0)
    assert factor(99) == pytest.approx(0.2)
    assert factor(100) == pytest.approx(0.2)  # the scheduler steps once after the last step
    assert factor(10 + 89 // 2) > factor(10 + 89 // 2 + 1)


def test_cosine_without_warmup_is_half_a_cosine() -> None:
    factor = cosine_factor(cosine(warmup=0.0), 11)
    expected = [0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(11)]
    assert [factor(step) for step in range(11)] == pytest.approx(expected)
    assert factor(5) == pytest.approx(0.5)


@pytest.mark.parametrize(("warmup", "total"), [(0.0, 1), (0.05, 1), (1.0, 1), (1.0, 5), (0.5, 2)])
def test_cosine_of_few_steps_stays_between_zero_and_one(warmup: float, total: int) -> None:
    factor = cosine_factor(cosine(warmup), total)
    values = [factor(step) for step in range(total)]
    assert all(0 <= value <= 1 for value in values)
    assert values[0] > 0


def test_cosine_sets_the_rate_of_each_step_of_both_groups(network: nn.Module) -> None:
    optimizer = make_optimizer(whole(network), sgd(lr=0.5))
    schedule = make_step_schedule(optimizer, cosine(warmup=0.2, final=0.1), 10)
    assert schedule is not None
    seen = []
    for _ in range(10):
        assert len(rates(optimizer)) == 1
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    tail = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 7)) for step in range(8)]
    assert seen == pytest.approx([0.5 * value for value in [0.5, 1.0, *tail]])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_cosine_scales_the_rate_of_each_group(network: nn.Module) -> None:
    optimizer = make_optimizer(halves(network, 0.1), sgd(lr=0.5))
    schedule = make_step_schedule(optimizer, cosine(warmup=0.2, final=0.1), 10)
    assert schedule is not None
    factor = cosine_factor(cosine(warmup=0.2, final=0.1), 10)
    for step in range(10):
        expected = [0.5 * factor(step), 0.5 * factor(step), 0.05 * factor(step), 0.05 * factor(step)]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected)
        optimizer.step()
        schedule.step()


# --- plateau


def test_plateau_lowers_the_rate_when_val_nll_stops_falling(network: nn.Module) -> None:
    optimizer = make_optimizer(whole(network), sgd(lr=1.0))
    schedule = make_plateau_schedule(optimizer, plateau(factor=0.5, patience=1, threshold=0.01))
    assert schedule is not None
    seen = []
    for nll in [1.0, 0.9, 0.895, 0.896, 0.5, 0.5, 0.5]:
        schedule.step(nll)
        seen.append(optimizer.param_groups[0]["lr"])
    # 0.895 is no improvement by 0.01 nats over 0.9, and patience is one evaluation
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    assert len(rates(optimizer)) == 1


def test_the_threshold_of_plateau_is_in_nats_not_in_shares(network: nn.Module) -> None:
    optimizer = make_optimizer(whole(network), sgd(lr=1.0))
    schedule = make_plateau_schedule(optimizer, plateau(patience=0, threshold=0.01))
    assert schedule is not None
    for nll in [0.1, 0.095]:  # 5 % better, yet only 0.005 nats
        schedule.step(nll)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_plateau_lowers_the_rate_of_each_group_however_low(network: nn.Module) -> None:
    optimizer = make_optimizer(halves(network, 1e-8), sgd(lr=1.0))
    schedule = make_plateau_schedule(optimizer, plateau(factor=0.5, patience=0))
    assert schedule is not None
    for nll in [1.0, 1.0]:
        schedule.step(nll)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5, 0.5e-8, 0.5e-8]


@pytest.mark.parametrize("schedule", [CONSTANT, cosine(0.0)])
def test_val_nll_does_not_change_the_rate_of_other_schedules(network: nn.Module, schedule: CosineSchedule) -> None:
    assert make_plateau_schedule(make_optimizer(whole(network), adamw()), schedule) is None
