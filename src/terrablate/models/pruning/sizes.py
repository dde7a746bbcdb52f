"""What a network has and costs, to be told before and after channels are removed."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Of a network for one image."""

    parameters: int
    macs: int
    """Multiply-accumulates of matrix products: torch's count of floating-point operations, halved."""


def cost(network: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Parameters and multiply-accumulates; the network stays as it is.

    Args:
        network: on any device.
        shape: C,H,W of its images.
    """
    own = [*network.parameters(), *network.buffers()]
    copied = copy.deepcopy(network, {id(value): _without_values(value) for value in own}).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copied(torch.empty(1, *shape, device="meta"))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)


def _without_values(value: torch.Tensor) -> torch.Tensor:
    empty = value.detach().to("meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty


def channel_counts(network: nn.Module) -> dict[str, int]:
    """Output channels of each convolution and dense layer, by its name, in the order of registration."""
    counts: dict[str, int] = {}
    for name, layer in network.named_modules():
        channels: Any = None
        match layer:
            case nn.modules.conv._ConvNd():
                channels = layer.out_channels
            case nn.Linear():
                channels = layer.out_features
        if channels is not None:
            counts[name] = channels
    return counts
