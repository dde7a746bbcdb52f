"""The optimizer over the parameters of a network: what decays, which rate each group has, what is left out."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import SGD, AdamW
from terrablate.models.finetune import RateGroup
from terrablate.models.networks import SmallCNN
from terrablate.models.norm import apply_norm
from terrablate.training.optimizers import make_optimizer


def adamw(lr: float = 0.01, weight_decay: float = 0.1) -> AdamW:
    return AdamW(name="adamw", optimizer="adamw", lr=lr, weight_decay=weight_decay, betas=[0.8, 0.95])


def sgd(lr: float = 0.1, weight_decay: float = 0.1, momentum: float = 0.0, nesterov: bool = False) -> SGD:
    return SGD(name="sgd", optimizer="sgd", lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)


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
