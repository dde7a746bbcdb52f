"""Where a network normalises: which layers do, over which dimension their channels lie, and how many these are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from terrablate.models.networks import NormPlace

_LAYERS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)
_BY_NAME = re.compile(r"(RmsNorm|SimpleNorm|EvoNorm|FilterResponseNorm|FrozenBatchNorm)\w*|GlobalResponseNorm")
"""Normalisations of timm that are none of torch's; by name, as our own networks do not need timm."""
_FUSED = re.compile(r"(EvoNorm|FilterResponseNorm|FrozenBatchNorm)\w*")
"""Those whose normalisation cannot be parted from their activation, or does not learn."""


@dataclass(frozen=True)
class Place:
    """A layer that normalises, or a `NormPlace` that waits for one."""

    parent: nn.Module
    name: str
    layer: nn.Module
    channels: int | None
    """None where the layer does not tell."""

    @property
    def is_last_dim(self) -> bool:
        """Whether its input is ...,C (tokens, channels-last images) and not N,C,..."""
        if is_global_response(self.layer):
            return bool(self.layer.channel_dim == -1)
        kind = type(self.layer).__name__
        by_shape = isinstance(self.layer, nn.LayerNorm | nn.RMSNorm) or _BY_NAME.fullmatch(kind) is not None
        return by_shape and "2d" not in kind

    @property
    def is_fused(self) -> bool:
        """Whether it can be neither removed nor replaced."""
        return _FUSED.fullmatch(type(self.layer).__name__) is not None


def normalises(layer: nn.Module) -> bool:
    """Whether a layer is a normalisation."""
    return isinstance(layer, _LAYERS) or _BY_NAME.fullmatch(type(layer).__name__) is not None


def is_global_response(layer: nn.Module) -> bool:
    """Whether it is the global response normalisation of ConvNeXt V2, whose weight scales a residual."""
    return type(layer).__name__ == "GlobalResponseNorm"


def norm_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and layer of every normalisation in a network."""
    return ((name, layer) for name, layer in network.named_modules() if normalises(layer))


def find_places(network: nn.Module) -> list[Place]:
    """All layers of a network that normalise, and all its `NormPlace`s, in the order of registration."""
    parents: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
    for parent in network.modules():
        for name, child in parent.named_children():
            parents.setdefault(child, []).append((parent, name))
    places, convolved = [], None
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            convolved = layer.out_channels
        if isinstance(layer, NormPlace) or normalises(layer):
            # local response normalisation knows no channels; in AlexNet and its kin it follows its convolution
            channels = convolved if isinstance(layer, nn.LocalResponseNorm) else _channels(layer)
            places += [Place(parent, name, layer, channels) for parent, name in parents.get(layer, [])]
    return places


def _channels(layer: nn.Module) -> int | None:
    match layer:
        case NormPlace():
            return layer.channels
        case nn.GroupNorm():
            return layer.num_channels
        case _BatchNorm() | _InstanceNorm():
            return layer.num_features
    shape = getattr(layer, "normalized_shape", None)
    if shape is not None and len(shape) == 1:
        return int(shape[0])
    return layer.get_parameter("weight").numel() if is_global_response(layer) else None
