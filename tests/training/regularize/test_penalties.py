"""L1 and L2-SP: their values and their pull by hand, and on which parameters they act."""

import pytest
import torch
from torch import nn

from terrablate.config.schema.regularize import L2SP, Regularize
from terrablate.errors import ConfigError
from terrablate.training.regularize import Regularization
from terrablate.training.regularize.penalties import l1, l2_sp, penalised


def small() -> nn.Sequential:
    """A dense layer, a norm and a head with weights that can be counted."""
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.5]]))
        network[2].weight.copy_(torch.tensor([[3.0, -1.0]]))
        for name in ("0.bias", "1.weight", "1.bias", "2.bias"):
            network.get_parameter(name).fill_(100.0)
    return network


def test_l1_is_the_sum_of_absolute_weights_and_pulls_all_of_them_alike() -> None:
    network = small()
    value = l1(network, 0.1)
    assert value.item() == pytest.approx(0.1 * (1 + 2 + 0 + 0.5 + 3 + 1))
    value.backward()
    torch.testing.assert_close(network[0].weight.grad, torch.tensor([[0.1, -0.1], [0.0, 0.1]]))
    torch.testing.assert_close(network[2].weight.grad, torch.tensor([[0.1, -0.1]]))


def test_l2_sp_pulls_to_the_start_and_a_new_head_to_zero() -> None:
    network = small()
    start = {"0.weight": torch.tensor([[0.0, 0.0], [1.0, 0.5]])}
    value = l2_sp(network, start, weight=0.2, head_weight=0.4)
    assert value.item() == pytest.approx(0.1 * (1 + 4 + 1 + 0) + 0.2 * (9 + 1))
    value.backward()
    torch.testing.assert_close(network[0].weight.grad, 0.2 * torch.tensor([[1.0, -2.0], [-1.0, 0.0]]))
    torch.testing.assert_close(network[2].weight.grad, 0.4 * torch.tensor([[3.0, -1.0]]))


def test_biases_norms_and_frozen_weights_are_left_alone() -> None:
    network = small()
    network[0].weight.requires_grad_(False)
    assert [name for name, _ in penalised(network)] == ["2.weight"]
    l1(network, 1.0).backward()
    assert all(parameter.grad is None for name, parameter in network.named_parameters() if name != "2.weight")


def test_nothing_that_trains_gives_a_penalty_of_zero() -> None:
    assert l1(small().requires_grad_(False), 1.0).item() == 0


def test_the_start_is_what_stood_in_the_network_when_training_began() -> None:
    network = small()
    section = Regularize(l2_sp=L2SP(weight=2.0, head_weight=0.0))
    regularization = Regularization(section, network, pretrained={"0.weight", "0.bias"}, total_steps=1)
    assert regularization.penalty(network).item() == 0
    with torch.no_grad():
        network[0].weight.add_(1)
    assert regularization.penalty(network).item() == pytest.approx(2 / 2 * 4)


def test_l2_sp_without_pretrained_weights_that_train_is_refused() -> None:
    network = small()
    network[0].weight.requires_grad_(False)
    section = Regularize(l2_sp=L2SP(weight=1.0, head_weight=1.0))
    with pytest.raises(ConfigError, match=r"^regularize=l2_sp: of the parameters that train none has pretrained"):
        Regularization(section, network, pretrained={"0.weight"}, total_steps=1)
