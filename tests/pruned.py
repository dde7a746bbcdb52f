"""What tests of pruning share: networks with weights of their own, and one whose removed channels say nothing."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from terrablate.models.pruning import Cut, channel_counts, choose


def cuts_at(
    network: nn.Module,
    shape: tuple[int, int, int],
    share: float = 0.3,
    *,
    importance: str = "l2",
    scope: str = "uniform",
    seed: int = 0,
) -> list[Cut]:
    """What goes of a network that was never pruned."""
    rng = np.random.default_rng(seed)
    initial = channel_counts(network)
    return choose(network, shape, share=share, initial=initial, importance=importance, scope=scope, rng=rng)


def vary(network: nn.Module) -> nn.Module:
    """Norms, their statistics and biases as they never start, so that no channel is like another; in eval mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in network.modules():
            for name in ("weight", "bias", "running_mean", "running_var"):
                value = getattr(layer, name, None)
                if isinstance(value, torch.Tensor) and value.ndim == 1:
                    value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return network.eval()


def unread(network: nn.Module, cuts: Sequence[Cut]) -> nn.Module:
    """A copy that has all its channels, and in which nothing reads those of the cuts."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for name, side, channels in cuts:
            layer = copied.get_submodule(name)
            if side == "out" or not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            if isinstance(layer, nn.Linear):
                layer.weight[:, channels] = 0
                continue
            each, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
            for channel in channels:
                group = channel // each
                layer.weight[group * outputs : (group + 1) * outputs, channel % each] = 0
    return copied
