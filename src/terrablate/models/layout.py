"""How the numbers of a network and of its images lie in memory; the shapes stay N,C,H,W."""

from typing import Any

import torch
from torch import nn

from terrablate.errors import ConfigError


def apply_channels_last(network: nn.Module, name: str) -> None:
    """Lay out the kernels of all convolutions, and the images that enter, with the channels last.

    Convolutions hand this layout on, so that all maps between them have it. Tensor cores want it in half precision;
    other kernels add up in another order, so that results differ by rounding.

    Args:
        network: changed in place; names of its state dict stay.
        name: of the network, for messages.

    Raises:
        ConfigError: if it has no convolution, so that nothing would change.
    """
    if not any(parameter.ndim == 4 for parameter in network.parameters()):
        raise ConfigError(
            f"trainer.channels_last=true: changes nothing, since model={name} has no convolution; leave it at false"
        )
    network.to(memory_format=torch.channels_last)
    network.register_forward_pre_hook(_channels_last)


def _channels_last(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])
