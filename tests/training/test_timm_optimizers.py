"""The index that is read off timm's sources, against timm's own registry; and that all it names trains and resumes."""

import copy
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from torch import nn

from terrablate.training.timm_optimizers import obstacle, optimizer_arguments, optimizer_names


def test_names_are_those_of_timms_registry() -> None:
    refused = {name for name in list_optimizers() if obstacle(name)}
    assert optimizer_names() == set(list_optimizers()) - refused
    assert refused == {name for name in list_optimizers() if name.startswith(("bnb", "fused"))} | {"adahessian"}


def test_what_cannot_be_used_says_why() -> None:
    assert obstacle("bnblion") == "it needs the package bitsandbytes"
    assert obstacle("lookahead_fusedadam") == "it needs the package apex"
    assert obstacle("adahessian") == "it needs second derivatives, which training does not compute"
    assert obstacle("lion") is None
    assert obstacle("no_such_optimizer") is None


def test_arguments_are_those_that_reach_the_class() -> None:
    for name in optimizer_names():
        info = get_optimizer_info(name)
        taken = set(inspect.signature(info.opt_class.__init__).parameters) - {"self", "params", "lr", "weight_decay"}
        flags = {"eps": info.has_eps, "betas": info.has_betas, "momentum": info.has_momentum}
        assert optimizer_arguments(name) == taken - {key for key, passed in flags.items() if not passed}, name
        assert optimizer_arguments(f"lookahead_{name}") == optimizer_arguments(name)


def test_no_name_no_arguments() -> None:
    with pytest.raises(KeyError):
        optimizer_arguments("no_such_optimizer")


class Job:
    """A small network and an optimizer, which go on where a state says."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
        parameters = list(self.network.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [each for each in parameters if each.ndim > 1], "lr": 0.001, "weight_decay": 0.01},
            {"params": [each for each in parameters if each.ndim <= 1], "lr": 0.001, "weight_decay": 0.0},
        ]
        self.optimizer = create_optimizer_v2(groups, name, lr=0.001, weight_decay=0.01)

    def losses(self, steps: int) -> list[float]:
        generator = torch.Generator().manual_seed(1)
        images, labels = torch.randn(8, 3, 6, 6, generator=generator), torch.arange(8) % 5

        def compute() -> torch.Tensor:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(images), labels)
            loss.backward()
            return loss

        return [self.optimizer.step(compute).item() for _ in range(steps)]


PLAIN_PYTHON = sorted(name for name in optimizer_names() if "kron" not in name)
"""Kron compiles its kernels, which takes half a minute."""


@pytest.mark.parametrize("name", [*PLAIN_PYTHON, "lookahead_adamw"])
def test_every_name_trains_and_goes_on_to_the_bit_after_a_pause(name: str) -> None:
    job = Job(name)
    before = job.losses(7)
    assert before[-1] < before[0]
    resumed = Job(name)
    resumed.network.load_state_dict({key: value.clone() for key, value in job.network.state_dict().items()})
    resumed.optimizer.load_state_dict(copy.deepcopy(job.optimizer.state_dict()))
    assert resumed.losses(7) == job.losses(7)
