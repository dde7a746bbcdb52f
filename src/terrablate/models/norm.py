"""Normalisation surgery: take the normalisation layers of any network out, or put others in their place.

Names of parameters stay as they are, so that published weights still find their places.
"""

import re
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from terrablate.config.schema import Norm
from terrablate.errors import ConfigError
from terrablate.models.networks import NormPlace

_LAYERS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)
_BY_NAME = re.compile(r"(RmsNorm|SimpleNorm|EvoNorm|FilterResponseNorm|FrozenBatchNorm)\w*|GlobalResponseNorm")
"""Normalisations of timm that are none of torch's; by name, as our own networks do not need timm."""
_FUSED = re.compile(r"(EvoNorm|FilterResponseNorm|FrozenBatchNorm)\w*")
"""Those whose normalisation cannot be parted from their activation, or does not learn."""


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
            removed = _replace(network, lambda _: nn.Identity(), _normalises)
            _keep_inputs(network)
            return removed
        case "batch":
            changed = _replace(network, lambda layer: _batch(layer, norm), _is_place)
            if not changed:
                changed = _add_after_convolutions(network, norm)
            if not changed:
                raise ConfigError("norm=batch: the network has neither normalisation nor convolutions to put it after")
            return changed


def norm_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and layer of every normalisation in a network."""
    return ((name, layer) for name, layer in network.named_modules() if _normalises(layer))


def _normalises(layer: nn.Module) -> bool:
    return isinstance(layer, _LAYERS) or _BY_NAME.fullmatch(type(layer).__name__) is not None


def _is_place(layer: nn.Module) -> bool:
    return isinstance(layer, NormPlace) or _normalises(layer)


def _replace(network: nn.Module, make: Callable[[nn.Module], nn.Module], wanted: Callable[[nn.Module], bool]) -> int:
    found = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if wanted(layer)
    ]
    for parent, name, layer in found:
        if _FUSED.fullmatch(type(layer).__name__):
            raise ConfigError(f"norm: {type(layer).__name__} of this network can be neither removed nor replaced")
        setattr(parent, name, _with_activation(make(layer), layer))
    return len(found)


def _keep_inputs(network: nn.Module) -> None:
    """Activations that work in place would now overwrite what another branch still reads, not a norm's output."""
    for layer in network.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]


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
    kind = LastDimBatchNorm if _on_last_dim(layer) else nn.BatchNorm2d
    return kind(channels, eps=norm.eps, momentum=norm.momentum).train(layer.training)


def _on_last_dim(layer: nn.Module) -> bool:
    if type(layer).__name__ == "GlobalResponseNorm":
        return bool(layer.channel_dim == -1)
    by_shape = isinstance(layer, nn.LayerNorm | nn.RMSNorm) or _BY_NAME.fullmatch(type(layer).__name__) is not None
    return by_shape and "2d" not in type(layer).__name__


def _channels(layer: nn.Module) -> int:
    match layer:
        case NormPlace():
            return layer.channels
        case nn.GroupNorm():
            return layer.num_channels
        case _InstanceNorm():
            return layer.num_features
    shape = getattr(layer, "normalized_shape", None)
    if shape is not None and len(shape) == 1:
        return int(shape[0])
    if type(layer).__name__ == "GlobalResponseNorm":
        return layer.get_parameter("weight").numel()
    raise ConfigError(f"norm=batch: cannot take the place of {type(layer).__name__} in this network")


def _add_after_convolutions(network: nn.Module, norm: Norm) -> int:
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    for convolution in convolutions:
        _append(convolution, "norm", nn.BatchNorm2d(convolution.out_channels, eps=norm.eps, momentum=norm.momentum))
    return len(convolutions)


def _append(layer: nn.Module, name: str, then: nn.Module) -> None:
    """Let `then` act on the output of a layer, as its child, which leaves the names of the layer's parameters alone."""
    layer.add_module(name, then.train(layer.training))
    layer.register_forward_hook(lambda module, _, output: module.get_submodule(name)(output))
