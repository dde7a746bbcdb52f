"""Normalisation surgery: take the normalisation layers of any network out, or put others in their place.

Names of parameters stay as they are, so that published weights still find their places.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from terrablate.config.schema import Norm
from terrablate.errors import ConfigError
from terrablate.models.networks import NormPlace

_LAYERS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)


class LastDimBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the last dimension of any tensor, as layer normalisation of tokens has it."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """...,C to ...,C."""
        return super().forward(values.reshape(-1, values.shape[-1])).reshape(values.shape)


def apply_norm(network: nn.Module, norm: Norm) -> int:
    """Change the normalisation of a network in place.

    Args:
        network: any network.
        norm: the choice; `native` changes nothing.

    Returns:
        How many normalisation layers were removed, changed or added.

    Raises:
        ConfigError: if a normalisation is asked for and there is no place for it.
    """
    match norm.name:
        case "native":
            return 0
        case "none":
            return _replace(network, lambda _: nn.Identity())
        case "batch":
            changed = _replace(network, lambda layer: _batch(layer, norm))
            if not changed:
                changed = _add_after_convolutions(network, norm)
            if not changed:
                raise ConfigError("norm=batch: the network has neither normalisation nor convolutions to put it after")
            return changed


def norm_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and layer of every normalisation in a network."""
    return ((name, layer) for name, layer in network.named_modules() if isinstance(layer, _LAYERS))


def _replace(network: nn.Module, make: Callable[[nn.Module], nn.Module]) -> int:
    found = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, (*_LAYERS, NormPlace))
    ]
    for parent, name, layer in found:
        setattr(parent, name, _with_activation(make(layer), layer))
    return len(found)


def _with_activation(new: nn.Module, old: nn.Module) -> nn.Module:
    """Timm fuses some normalisations with dropout and activation: keep those."""
    rest = [old.get_submodule(part) for part in ("drop", "act") if part in dict(old.named_children())]
    rest = [layer for layer in rest if not isinstance(layer, nn.Identity)]
    if not rest or new is old:
        return new
    if isinstance(new, nn.Identity):
        return nn.Sequential(*rest)
    for layer in rest:
        _append(new, type(layer).__name__.lower(), layer)
    return new


def _batch(layer: nn.Module, norm: Norm) -> nn.Module:
    if isinstance(layer, _BatchNorm):
        layer.momentum, layer.eps = norm.momentum, norm.eps
        return layer
    channels = _channels(layer)
    on_last_dim = isinstance(layer, nn.LayerNorm | nn.RMSNorm) and not type(layer).__name__.endswith("2d")
    kind = LastDimBatchNorm if on_last_dim else nn.BatchNorm2d
    return kind(channels, eps=norm.eps, momentum=norm.momentum)


def _channels(layer: nn.Module) -> int:
    match layer:
        case NormPlace():
            return layer.channels
        case nn.GroupNorm():
            return layer.num_channels
        case _InstanceNorm():
            return layer.num_features
        case nn.LayerNorm() | nn.RMSNorm() if len(layer.normalized_shape) == 1:
            return layer.normalized_shape[0]
    raise ConfigError(f"norm=batch: cannot take the place of {type(layer).__name__} in this network")


def _add_after_convolutions(network: nn.Module, norm: Norm) -> int:
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    for convolution in convolutions:
        _append(convolution, "norm", nn.BatchNorm2d(convolution.out_channels, eps=norm.eps, momentum=norm.momentum))
    return len(convolutions)


def _append(layer: nn.Module, name: str, then: nn.Module) -> None:
    """Let `then` act on the output of a layer, as its child, which leaves the names of the layer's parameters alone."""
    layer.add_module(name, then)
    layer.register_forward_hook(lambda module, _, output: module.get_submodule(name)(output))
