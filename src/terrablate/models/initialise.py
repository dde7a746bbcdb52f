"""Initial random weights: the network's own scheme, or one of the textbook's in its place."""

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from terrablate.config.schema import ScratchWeights, Weights
from terrablate.errors import ConfigError
from terrablate.models.networks import LocallyConnected2d

NORMAL_STD = 0.01
"""Deviation of `weights.init=normal` where `weights.std` says none (Krizhevsky et al. 2012)."""


@torch.no_grad()
def initialise(network: nn.Module, weights: Weights) -> int:
    """Draw the weights of dense and convolutional layers anew, in place; their biases become zero.

    `kaiming`: normal, fan-in, for ReLU (He et al. 2015). `xavier`: uniform (Glorot and Bengio 2010). `normal`: N(0,
    std^2). `native`, and weights that are loaded, draw nothing. Normalisation, embeddings and tokens stay.

    Args:
        network: any network, before surgery.
        weights: the choice.

    Returns:
        How many layers were drawn.

    Raises:
        ConfigError: if the network has no such layers.
    """
    if not isinstance(weights, ScratchWeights) or weights.init == "native":
        return 0
    drawn = 0
    for layer in network.modules():
        match layer:
            case _ConvNd() | nn.Linear():
                _draw(layer.weight, weights)
            case LocallyConnected2d():
                for window in layer.weight:  # each position has weights of its own, out x in
                    _draw(window, weights)
            case _:
                continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        drawn += 1
    if not drawn:
        raise ConfigError(f"weights.init={weights.init}: the network has neither dense nor convolutional layers")
    return drawn


def _draw(weight: torch.Tensor, weights: ScratchWeights) -> None:
    match weights.init:
        case "kaiming":
            nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu")
        case "xavier":
            nn.init.xavier_uniform_(weight)
        case "normal":
            nn.init.normal_(weight, std=NORMAL_STD if weights.std is None else weights.std)
