"""Cuts: channels that leave single layers. A network that is built anew takes the shapes of a pruned one by replaying.

A cut is a triple `(layer, side, channels)`: the name of a layer, `out` or `in`, and the channels that leave that side,
counted as the layer has them at that moment. It is plain data, so that a checkpoint can hold it and be read without
running code.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from terrablate.errors import WeightsError

type Side = Literal["in", "out"]
type Cut = tuple[str, Side, list[int]]
type Kept = dict[str, torch.Tensor]
"""Of each parameter that lost values, by its name: where the values that are left stood, flat, in their order."""

_KEY = "pruning"


def cuts_of(checkpoint: Mapping[str, Any]) -> list[Cut]:
    """The cuts that a checkpoint holds, in their order; none in that of a network that was never pruned."""
    return [(str(layer), side, list(channels)) for layer, side, channels in checkpoint.get(_KEY, [])]


def with_cuts(checkpoint: dict[str, Any], cuts: Sequence[Cut]) -> dict[str, Any]:
    """A checkpoint that holds cuts, too; the same without any."""
    return checkpoint | {_KEY: [list(cut) for cut in cuts]} if cuts else checkpoint


def cut_channels(network: nn.Module, cuts: Sequence[Cut]) -> Kept:
    """Take channels out of layers, in place and in order. Parameters that lose some become new objects.

    What is left keeps its values, gradients, device, and whether it trains. torch-pruning does it.

    Raises:
        IndexError: if a layer has no such channels.
        AttributeError: if there is no such layer.
    """
    trains = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    by_layer: dict[str, list[Cut]] = {}
    for cut in cuts:
        by_layer.setdefault(cut[0], []).append(cut)
    kept: Kept = {}
    for name, its_cuts in by_layer.items():
        layer = network.get_submodule(name)
        numbered = _numbered(layer)
        for _, side, channels in its_cuts:
            for each in (numbered, layer):
                _cut(each, name, side, channels)
        for own, parameter in layer.named_parameters(prefix=name, recurse=False):
            parameter.requires_grad_(trains[own])
            kept[own] = numbered.get_parameter(own.removeprefix(f"{name}.")).detach().flatten().long()
    return kept


def replay(network: nn.Module, checkpoint: Mapping[str, Any], origin: str) -> list[Cut]:
    """Give a network that was built anew the shapes of the one in a checkpoint, and return the cuts.

    Raises:
        WeightsError: if they do not fit the network.
    """
    cuts = cuts_of(checkpoint)
    try:
        cut_channels(network, cuts)
    except (AttributeError, IndexError, KeyError) as error:
        raise WeightsError(
            f"weights: {origin} was pruned, and its cuts do not fit the network: {error}; use its model, norm and"
            " image size"
        ) from error
    return cuts


def _numbered(layer: nn.Module) -> nn.Module:
    """A copy on the CPU, each of whose values is its place."""
    copied = copy.deepcopy(layer).cpu().double()
    with torch.no_grad():
        for parameter in copied.parameters(recurse=False):
            parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape))
    return copied


def _cut(layer: nn.Module, name: str, side: Side, channels: list[int]) -> None:
    from torch_pruning import ops
    from torch_pruning.pruner import function

    pruner = function.PrunerBox.get(ops.module2type(layer))
    if pruner is None:
        raise KeyError(f"{name} is a {type(layer).__name__}")
    there = pruner.get_out_channels(layer) if side == "out" else pruner.get_in_channels(layer)
    if max(channels, default=-1) >= there or len(channels) >= there:
        raise IndexError(f"{name} has {there} channels")
    (pruner.prune_out_channels if side == "out" else pruner.prune_in_channels)(layer, channels)
