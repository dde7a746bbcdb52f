"""Normalisation surgery: `apply_norm`.

Names of parameters stay as they are, so that published weights still find their places.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from terrablate.config.schema import BatchNorm, NativeNorm, NoNorm, Norm
from terrablate.config.schema import GroupNorm as GroupNormChoice
from terrablate.config.schema import InstanceNorm as InstanceNormChoice
from terrablate.config.schema import LayerNorm as LayerNormChoice
from terrablate.errors import ConfigError
from terrablate.models.norm.layers import (
    GroupNorm,
    InstanceNorm,
    LastDimBatchNorm,
    LastDimGroupNorm,
    LastDimInstanceNorm,
    append,
)
from terrablate.models.norm.places import Place, find_places, is_global_response, norm_layers, normalises
from terrablate.models.norm.statistics import statistics_layers
from terrablate.models.places import inner_convolutions

type Swap = BatchNorm | GroupNormChoice | LayerNormChoice | InstanceNormChoice


def apply_norm(network: nn.Module, norm: Norm) -> int:
    """Change the normalisation of a network in place.

    Scale and shift per channel are carried over from a layer that is replaced. Layers that are of the wanted kind
    already stay, with the momentum and eps asked for; so does layer normalisation over channels alone, as in ConvNeXt.

    Args:
        network: any network.
        norm: the choice; `native` without momentum and eps changes nothing.

    Returns:
        How many normalisation layers were removed, changed or added.

    Raises:
        ConfigError: if there is no place for what is asked.
    """
    match norm:
        case NativeNorm():
            changed = _tune(network, norm)
        case NoNorm():
            taken = [place for place in find_places(network) if normalises(place.layer)]
            changed = _replace(taken, lambda _: nn.Identity(), norm.name)
            _keep_inputs(network)
        case _:
            changed = _swap(network, norm)
    if isinstance(norm, NativeNorm | BatchNorm):
        _require_statistics(network, norm)
    return changed


def _swap(network: nn.Module, norm: Swap) -> int:
    changed = _replace(find_places(network), lambda place: _in_place_of(place, norm), norm.name)
    if not changed:
        convolutions = inner_convolutions(network)
        for convolution in convolutions:
            append(convolution, "norm", _new(norm, convolution.out_channels, last_dim=False))
        changed = len(convolutions)
    if not changed:
        raise ConfigError(
            f"norm={norm.name}: the network has neither normalisation nor convolutions to put it after;"
            " leave it at native"
        )
    return changed


def _replace(places: list[Place], make: Callable[[Place], nn.Module], name: str) -> int:
    for place in places:
        if place.is_fused:
            kind = type(place.layer).__name__
            raise ConfigError(f"norm={name}: {kind} of this network can be neither removed nor replaced")
        setattr(place.parent, place.name, _with_activation(make(place), place.layer))
    return len(places)


def _in_place_of(place: Place, norm: Swap) -> nn.Module:
    match norm, place.layer:
        case BatchNorm(), _BatchNorm() as layer:
            layer.momentum, layer.eps = norm.momentum, norm.eps
            return layer
        case LayerNormChoice(), nn.LayerNorm() as layer:
            layer.eps = norm.eps
            return layer
    if place.channels is None:
        raise ConfigError(f"norm={norm.name}: cannot take the place of {type(place.layer).__name__} in this network")
    new = _new(norm, place.channels, last_dim=place.is_last_dim)
    _carry_affine(place.layer, new)
    return new.train(place.layer.training)


def _new(norm: Swap, channels: int, *, last_dim: bool) -> nn.Module:
    match norm:
        case BatchNorm():
            batch = LastDimBatchNorm if last_dim else nn.BatchNorm2d
            return batch(channels, eps=norm.eps, momentum=norm.momentum)
        case GroupNormChoice():
            groups = max(count for count in range(1, norm.groups + 1) if channels % count == 0)
            if last_dim and groups == channels:
                raise ConfigError(
                    f"norm.groups={norm.groups}: a token of {channels} channels has groups of one channel, which have"
                    f" nothing to normalise; use fewer than {channels}"
                )
            return (LastDimGroupNorm if last_dim else GroupNorm)(groups, channels, eps=norm.eps)
        case LayerNormChoice():
            return nn.LayerNorm(channels, norm.eps) if last_dim else nn.GroupNorm(1, channels, norm.eps)
        case InstanceNormChoice():
            instance = LastDimInstanceNorm if last_dim else InstanceNorm
            return instance(channels, eps=norm.eps, affine=True)


@torch.no_grad()
def _carry_affine(old: nn.Module, new: nn.Module) -> None:
    """Global response normalisation scales a residual with its weight (zero at first), which means something else."""
    for name in () if is_global_response(old) else ("weight", "bias"):
        value = getattr(old, name, None)
        if isinstance(value, nn.Parameter):
            new.get_parameter(name).copy_(value)


def _with_activation(new: nn.Module, old: nn.Module) -> nn.Module:
    """Timm fuses some normalisations with dropout and activation: keep those."""
    rest = [old.get_submodule(part) for part in ("drop", "act") if part in dict(old.named_children())]
    rest = [layer for layer in rest if not isinstance(layer, nn.Identity)]
    if not rest or new is old:
        return new
    if isinstance(new, nn.Identity):
        return nn.Sequential(*rest)
    for layer in rest:
        append(new, type(layer).__name__.lower(), layer)
    return new


def _keep_inputs(network: nn.Module) -> None:
    """Activations that work in place would now overwrite what another branch still reads, not a norm's output."""
    for layer in network.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]


def _tune(network: nn.Module, norm: NativeNorm) -> int:
    """Momentum and eps of the layers that the network has."""
    with_momentum = [layer for layer in statistics_layers(network) if hasattr(layer, "momentum")]
    with_eps = [layer for _, layer in norm_layers(network) if hasattr(layer, "eps")]
    changed: set[nn.Module] = set()
    for key, value, layers in (("momentum", norm.momentum, with_momentum), ("eps", norm.eps, with_eps)):
        if value is None:
            continue
        if not layers:
            raise ConfigError(f"norm.{key}={value}: no normalisation layer of this network has it; leave it at null")
        for layer in layers:
            setattr(layer, key, value)
        changed.update(layers)
    return len(changed)


def _require_statistics(network: nn.Module, norm: NativeNorm | BatchNorm) -> None:
    if norm.sync and not any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        raise ConfigError("norm.sync=true: the network has no batch normalisation to synchronise; leave it at false")
    if norm.frozen and not statistics_layers(network):
        raise ConfigError("norm.frozen=true: the network has no running statistics to freeze; leave it at false")
