"""Bundles: channels of several layers that can only leave a network together, found by torch-pruning's graph.

The graph takes every operation that it does not know for one that leaves channels where they are. That is wrong for
some, and would silently remove other channels than those that were meant. So a bundle counts only if each operation in
it is known to keep channels apart and in their place; all others stay whole: the channels of tokens and of attention,
those under layer normalisation, response normalisation or shuffles, and those that reach the output.
"""

import copy
import functools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from terrablate.models.heads import classifiers
from terrablate.models.pruning.cuts import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEEPS_CHANNELS = frozenset(
    "Relu LeakyRelu Elu Hardtanh Hardswish Hardsigmoid Silu Gelu Mish Sigmoid Tanh Softplus Add Sub Mul Div Clone Alias"
    " MaxPool2DWithIndices AvgPool2D AdaptiveAvgPool2D MkldnnAdaptiveAvgPool2D AdaptiveMaxPool2D NativeBatchNorm"
    " NativeGroupNorm Addmm Mm T Squeeze Unsqueeze UpsampleNearest2D UpsampleBilinear2D".split()
)
"""Operations that treat each channel alike and by itself, as autograd names them."""
_ATTENTION = re.compile(r"\w*(Attention|Attn|Lambda)\w*")
_CHANNELS = 1
"""The dimension of channels in N,C,H,W and N,C."""


@dataclass(frozen=True)
class _Member:
    layer: str
    side: Side
    channels: list[int]
    roots: list[int]
    """Of each of `channels` the channel of the bundle to which it belongs."""


@dataclass(frozen=True)
class Bundle:
    """Channels that belong together, in `blocks` blocks of as many `units`; a unit is one channel of each block."""

    layer: str
    """The first that gives them."""
    units: int
    blocks: int
    norms: torch.Tensor
    """Of each unit, the mean over all weights that depend on it: units."""
    members: list[_Member]

    def channels_of(self, units: list[int]) -> dict[tuple[str, Side], set[int]]:
        """What removing these units takes from each side of each layer."""
        gone = {block * self.units + unit for unit in units for block in range(self.blocks)}
        return {
            (member.layer, member.side): {
                channel for channel, root in zip(member.channels, member.roots, strict=True) if root in gone
            }
            for member in self.members
        }


def bundles(network: nn.Module, shape: tuple[int, int, int], norm: int) -> list[Bundle]:
    """All channels of a network that can be removed, in bundles of two or more units, in the order of their layers.

    Args:
        network: stays as it is; it is looked at on the CPU.
        shape: C,H,W of its images.
        norm: 1 or 2: the power of the weights that is summed up.
    """
    from torch_pruning import DependencyGraph, importance

    copied, names = _traceable(network)
    graph = DependencyGraph().build_dependency(
        copied, torch.zeros(1, *shape), forward_fn=lambda model, images: model(images), verbose=False
    )
    score = importance.GroupMagnitudeImportance(p=norm, normalizer=None)
    never = [layer for classifier in classifiers(copied) for layer in classifier.modules()]
    found = []
    for group in graph.get_all_groups(ignored_layers=never):
        items = list(group)
        if not all(_is_known(item) for item in items):
            continue
        total = len(items[0].idxs)
        blocks = _blocks(items, total)
        if blocks is None or blocks >= total or not all(_is_sound(item, graph) for item in items):
            continue
        units = total // blocks
        norms = score(group).view(blocks, units).mean(0)
        members = list(_members(graph, items, names))
        found.append(Bundle(members[0].layer, units, blocks, norms, members))
    places = {name: place for place, name in enumerate(names.values())}
    return sorted(found, key=lambda bundle: places[bundle.layer])


class _ThenHooks(nn.Module):
    """A layer and what surgery appended to it by hooks, as two steps that the graph sees one after the other."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.hooks = list(layer._forward_hooks.values())
        layer._forward_hooks.clear()

    def forward(self, *inputs: torch.Tensor) -> Any:
        output = self.layer(*inputs)
        for hook in self.hooks:
            changed = hook(self.layer, inputs, output)
            output = output if changed is None else changed
        return output


class _Opaque(torch.autograd.Function):
    """One operation in place of many, none of which is known; it is there to be followed, not to be differentiated."""

    @staticmethod
    def forward(ctx: Any, computed: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return computed.clone()


def _apart(forward: Callable[..., torch.Tensor], *inputs: Any, **named: Any) -> torch.Tensor:
    with torch.no_grad():
        computed = forward(*inputs, **named)
    given = (value for value in (*inputs, *named.values()) if isinstance(value, torch.Tensor))
    output: torch.Tensor = _Opaque.apply(computed, *given)
    return output


def _traceable(network: nn.Module) -> tuple[nn.Module, dict[nn.Module, str]]:
    """A copy that depends on its channels as the network does, and the names that its layers have in the network."""
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    names = {layer: name for name, layer in copied.named_modules()}
    for layer in copied.modules():
        if isinstance(layer, _InstanceNorm):  # torch does it by reshaping, which hides its channels
            vars(layer)["forward"] = lambda values: values * 1.0
        elif _ATTENTION.fullmatch(type(layer).__name__):
            vars(layer)["forward"] = functools.partial(_apart, layer.forward)
    wrapped: dict[nn.Module, nn.Module] = {}
    for parent in list(copied.modules()):
        for key, child in list(parent.named_children()):
            if child._forward_hooks:
                wrapped[child] = _ThenHooks(child)
            if child in wrapped:
                parent._modules[key] = wrapped[child]
    return copied, names


def _is_known(item: Any) -> bool:
    """Whether an operation leaves channels apart and in their place, or is a layer whose channels can be removed."""
    from torch_pruning.ops import OPTYPE

    node = item.dep.target
    match node.type:
        case OPTYPE.CONV | OPTYPE.DEPTHWISE_CONV | OPTYPE.LINEAR | OPTYPE.BN | OPTYPE.GN | OPTYPE.IN | OPTYPE.PRELU:
            return True
        case OPTYPE.CONCAT:
            return _signed(node.grad_fn._saved_dim) == _CHANNELS
        case OPTYPE.RESHAPE:  # flattening, and what dense layers do to tokens
            return len(node.grad_fn._saved_self_sym_sizes) in (2, 3, 4)
        case OPTYPE.ELEMENTWISE:
            return _keeps_channels(node.grad_fn)
    return False


def _keeps_channels(operation: Any) -> bool:
    name = re.sub(r"Backward\d*$", "", operation.name())
    match name:
        case "Mean":
            return all(dimension not in (0, _CHANNELS, -3, -4) for dimension in map(_signed, operation._saved_dim))
        case "ConstantPadNd":
            return not any(operation._saved_pad[4:])
    return name in _KEEPS_CHANNELS


def _signed(dimension: int) -> int:
    """Autograd keeps negative dimensions as unsigned numbers."""
    return dimension - 2**64 if dimension >= 2**63 else dimension


def _members(graph: Any, items: "Iterable[Any]", names: dict[nn.Module, str]) -> Iterator[_Member]:
    for item in items:
        layer = item.dep.target.module
        if layer in names:
            side: Side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
            yield _Member(names[layer], side, list(item.idxs), list(item.root_idxs))


def _is_sound(item: Any, graph: Any) -> bool:
    """Whether every channel of a layer exists and belongs to a channel of the bundle."""
    node, handler = item.dep.target, item.dep.handler
    there = graph.get_out_channels(node) if graph.is_out_channel_pruning_fn(handler) else graph.get_in_channels(node)
    return None not in item.root_idxs and (there is None or max(item.idxs, default=-1) < there)


def _blocks(items: "Iterable[Any]", total: int) -> int | None:
    """How many blocks of channels must lose as many each; None where they cover layers with blocks only in part."""
    counts = [1]
    for item in items:
        layer = item.dep.target.module
        match layer:
            case nn.modules.conv._ConvNd() if layer.groups > 1 and layer.groups != layer.out_channels:
                counts.append(layer.groups)
            case nn.GroupNorm() if layer.num_groups > 1:
                counts.append(layer.num_groups)
            case _:
                continue
        if list(item.idxs) != list(item.root_idxs) or len(item.idxs) != total:
            return None
    return math.lcm(*counts)
