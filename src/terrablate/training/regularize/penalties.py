"""Penalties on the weights that are added to the objective: L1, and the distance to the pretrained weights."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn


def penalised(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that a penalty acts on: those that train, without biases and norms (all of one dimension)."""
    return (
        (name, parameter)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1
    )


def l1(network: nn.Module, weight: float) -> torch.Tensor:
    """`weight * sum |w|` over the penalised parameters (Tibshirani 1996); a scalar.

    The slope at 0 is 0, so that a weight that stands there stays.
    """
    return weight * _total(parameter.abs().sum() for _, parameter in penalised(network))


def l2_sp(network: nn.Module, start: Mapping[str, torch.Tensor], weight: float, head_weight: float) -> torch.Tensor:
    """`weight / 2 * sum (w - w0)^2 + head_weight / 2 * sum w_new^2`; a scalar.

    L2-SP of Li et al. 2018, equation 2: https://arxiv.org/abs/1802.01483

    Args:
        network: in training.
        start: the pretrained values w0 by name; parameters without one, such as a new head, are pulled to zero.
        weight: of the distance to the pretrained weights.
        head_weight: of the plain squares of all other parameters.
    """
    parameters = list(penalised(network))
    near = _total((parameter - start[name]).square().sum() for name, parameter in parameters if name in start)
    new = _total(parameter.square().sum() for name, parameter in parameters if name not in start)
    return weight / 2 * near + head_weight / 2 * new


def _total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    return sum(terms, torch.zeros(()))
