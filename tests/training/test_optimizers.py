"""Optimizers: their steps are torch's and timm's own, every key turns, weight decay spares what it should."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import timm.optim
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from terrablate.config.schema.training import SAM as SAMSection  # noqa: N811
from terrablate.config.schema.training import SGD, Adam, AdamW, AnyOptim, RMSprop, SAMAdamW, TimmOptim
from terrablate.errors import ConfigError
from terrablate.training.optimizers import accumulated_images, create_optimizer, weight_decay_of

type Step = Callable[[], torch.Tensor]

RATES = {"lr": 0.02, "weight_decay": 0.3}
PLAIN = SGD(name="sgd", optimizer="sgd", **RATES)
NESTEROV = SGD(name="nesterov", optimizer="sgd", momentum=0.7, nesterov=True, **RATES)
ADAM = Adam(name="adam", optimizer="adam", betas=[0.8, 0.95], **RATES)
ADAMW = AdamW(name="adamw", optimizer="adamw", betas=[0.8, 0.95], **RATES)
RMSPROP = RMSprop(name="rmsprop", optimizer="rmsprop", alpha=0.9, momentum=0.5, **RATES)
SAM = SAMSection(name="sam", optimizer="sam", rho=0.1, momentum=0.7, **RATES)
SAM_ADAMW = SAMAdamW(name="sam_adamw", optimizer="sam_adamw", rho=0.1, betas=[0.8, 0.95], **RATES)
LION = TimmOptim(name="timm", optimizer="timm", timm_name="lion", **RATES)
ALL = [PLAIN, NESTEROV, ADAM, ADAMW, RMSPROP, SAM, SAM_ADAMW, LION]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def groups(module: nn.Module, optim: AnyOptim) -> list[dict[str, Any]]:
    """A group a parameter, as a caller builds them."""
    return [{"params": [each], "weight_decay": weight_decay_of(each, optim)} for each in module.parameters()]


def closure(module: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(8, 3, 6, 6, generator=generator), torch.arange(8) % 5

    def compute() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        return loss

    return compute


def trained(optim: AnyOptim, steps: int = 3) -> list[torch.Tensor]:
    module = network()
    optimizer = create_optimizer(groups(module, optim), optim)
    for _ in range(steps):
        optimizer.step(closure(module, optimizer))
    return [parameter.detach() for parameter in module.parameters()]


def trained_by(make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer], steps: int = 3) -> list[torch.Tensor]:
    module = network()
    optimizer = make(groups(module, PLAIN))
    for _ in range(steps):
        optimizer.step(closure(module, optimizer))
    return [parameter.detach() for parameter in module.parameters()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


# --- the library's own steps


OWN: list[tuple[AnyOptim, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]]] = [
    (PLAIN, lambda own: torch.optim.SGD(own, lr=0.02)),
    (NESTEROV, lambda own: torch.optim.SGD(own, lr=0.02, momentum=0.7, nesterov=True)),
    (
        dataclasses.replace(NESTEROV, fused=True),
        lambda own: torch.optim.SGD(own, lr=0.02, momentum=0.7, nesterov=True, fused=True),
    ),
    (ADAM, lambda own: torch.optim.Adam(own, lr=0.02, betas=(0.8, 0.95), fused=True)),
    (ADAMW, lambda own: torch.optim.AdamW(own, lr=0.02, betas=(0.8, 0.95), fused=True)),
    (dataclasses.replace(ADAMW, fused=False), lambda own: torch.optim.AdamW(own, lr=0.02, betas=(0.8, 0.95))),
    (RMSPROP, lambda own: torch.optim.RMSprop(own, lr=0.02, alpha=0.9, momentum=0.5)),
    (LION, lambda own: timm.optim.Lion(own, lr=0.02)),
    (
        dataclasses.replace(LION, timm_name="lookahead_nadamw", kwargs={"betas": [0.8, 0.95]}),
        lambda own: timm.optim.Lookahead(timm.optim.NAdamW(own, lr=0.02, betas=(0.8, 0.95))),
    ),
]


@pytest.mark.parametrize(("optim", "make"), OWN, ids=lambda each: getattr(each, "name", ""))
def test_steps_are_the_librarys_own_to_the_bit(
    optim: AnyOptim, make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
) -> None:
    assert same(trained(optim, 8), trained_by(make, 8))


def test_plain_sgd_steps_along_the_gradient() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0]]))
    weight.grad = torch.tensor([[0.5, -1.0]])
    create_optimizer([{"params": [weight], "weight_decay": 0.0}], PLAIN).step()
    torch.testing.assert_close(weight.detach(), torch.tensor([[1 - 0.02 * 0.5, 2 + 0.02]]))


def first_step(optim: AnyOptim, gradient: float, weight: float = 2.0) -> float:
    parameter = nn.Parameter(torch.tensor([[weight]]))
    parameter.grad = torch.tensor([[gradient]])
    create_optimizer([{"params": [parameter], "weight_decay": weight_decay_of(parameter, optim)}], optim).step()
    return parameter.item() - weight


def test_weight_decay_is_a_part_of_adams_gradient_and_apart_from_adamws() -> None:
    """Adam's first step has the size of the rate, whatever gradient and decay are; AdamW's has the decay added."""
    assert first_step(ADAM, 0.1) == pytest.approx(-0.02, rel=1e-4)
    assert first_step(ADAM, -0.5) == pytest.approx(-0.02, rel=1e-4)  # 0.3 x 2 outweighs the gradient
    assert first_step(ADAMW, 0.1) == pytest.approx(-0.02 - 0.02 * 0.3 * 2, rel=1e-4)
    assert first_step(ADAMW, -0.5) == pytest.approx(0.02 - 0.02 * 0.3 * 2, rel=1e-4)


def test_the_first_step_of_rmsprop_by_hand() -> None:
    gradient = 0.1 + 0.3 * 2  # with the decay
    assert first_step(RMSPROP, 0.1) == pytest.approx(-0.02 * gradient / (0.1 * gradient**2) ** 0.5, rel=1e-4)


# --- what every optimizer must do


@pytest.mark.parametrize("optim", ALL, ids=lambda optim: optim.name)
def test_groups_keep_their_own_rates_and_decay(optim: AnyOptim) -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)) for _ in range(3)]
    given = [
        {"params": parameters[:1], "weight_decay": 0.0, "lr": 0.5, "name": "head"},
        {"params": parameters[1:2], "lr": 0.25},
        {"params": parameters[2:]},
    ]
    optimizer = create_optimizer(given, optim)
    found = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert found == [(0.5, 0.0), (0.25, 0.3), (0.02, 0.3)]


@pytest.mark.parametrize("optim", ALL, ids=lambda optim: optim.name)
def test_training_lowers_the_loss_and_goes_on_to_the_bit_after_a_pause(optim: AnyOptim) -> None:
    optim = dataclasses.replace(optim, lr=0.005)
    module = network()
    optimizer = create_optimizer(groups(module, optim), optim)
    first = optimizer.step(closure(module, optimizer))
    for _ in range(4):
        optimizer.step(closure(module, optimizer))
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    state = copy.deepcopy(optimizer.state_dict())  # as a checkpoint holds it
    resumed = network()
    resumed.load_state_dict(weights)
    other = create_optimizer(groups(resumed, optim), optim)
    other.load_state_dict(state)
    for _ in range(5):
        loss = other.step(closure(resumed, other))
        assert optimizer.step(closure(module, optimizer)) == loss
    assert same(list(module.parameters()), list(resumed.parameters()))
    assert loss < first


CHANGES: list[tuple[AnyOptim, dict[str, Any]]] = [
    *((optim, {"lr": 0.01}) for optim in ALL),
    *((optim, {"weight_decay": 0.0}) for optim in ALL),
    *((optim, {"weight_decay_all": True}) for optim in ALL),
    (PLAIN, {"momentum": 0.5}),
    (NESTEROV, {"nesterov": False}),
    *((optim, {"betas": betas}) for optim in (ADAM, ADAMW, SAM_ADAMW) for betas in ([0.5, 0.95], [0.8, 0.9])),
    *((optim, {"eps": 0.01}) for optim in (ADAM, ADAMW, SAM_ADAMW, RMSPROP)),
    (RMSPROP, {"alpha": 0.8}),
    (RMSPROP, {"momentum": 0.0}),
    *((optim, {"rho": 0.2}) for optim in (SAM, SAM_ADAMW)),
    *((optim, {"adaptive": True}) for optim in (SAM, SAM_ADAMW)),
    (SAM, {"momentum": 0.5}),
    (SAM, {"nesterov": True}),
    (LION, {"timm_name": "nadamw"}),
    (LION, {"kwargs": {"betas": [0.5, 0.99]}}),
]


@pytest.mark.parametrize(("optim", "change"), CHANGES, ids=lambda each: getattr(each, "name", str(each)))
def test_every_key_changes_the_weights(optim: AnyOptim, change: dict[str, Any]) -> None:
    assert not same(trained(optim), trained(dataclasses.replace(optim, **change)))


def test_refused_arguments_become_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"optim.timm_name=lion with betas=\[2, 0.9\]: timm refuses it: Invalid beta"):
        trained(dataclasses.replace(LION, kwargs={"betas": [2, 0.9]}))


# --- weight decay and accumulation


def test_weight_decay_spares_biases_and_norms_unless_asked() -> None:
    decays = {name: weight_decay_of(each, PLAIN) for name, each in network().named_parameters()}
    assert decays == {"0.weight": 0.3, "0.bias": 0, "1.weight": 0, "1.bias": 0, "4.weight": 0.3, "4.bias": 0}
    everywhere = dataclasses.replace(PLAIN, weight_decay_all=True)
    assert {weight_decay_of(each, everywhere) for each in network().parameters()} == {0.3}


def test_accumulated_images_by_hand() -> None:
    """An epoch of 7 batches of 8 images, but 5 in the last, three batches an optimizer step."""
    found = [accumulated_images(step, 3, steps=7, batch_size=8, last=5) for step in range(7)]
    assert found == [24, 24, 24, 24, 24, 24, 5]
    assert [accumulated_images(step, 4, steps=7, batch_size=8, last=5) for step in range(7)] == [32] * 4 + [21] * 3
    assert [accumulated_images(step, 1, steps=3, batch_size=8, last=5) for step in range(3)] == [8, 8, 5]


def test_accumulated_gradients_are_those_of_one_large_batch() -> None:
    module = network()
    images, labels = torch.randn(21, 3, 6, 6), torch.arange(21) % 5
    F.cross_entropy(module(images), labels).backward()
    whole = [parameter.grad for parameter in module.parameters()]
    module.zero_grad()
    for step, (image, label) in enumerate(zip(images.split(8), labels.split(8), strict=True)):
        count = accumulated_images(step, 4, steps=3, batch_size=8, last=5)
        (F.cross_entropy(module(image), label, reduction="sum") / count).backward()
    for parameter, expected in zip(module.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
