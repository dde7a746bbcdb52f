"""Where a network has maps: what each layer gives, which places in the image it is of, and the outputs of stages."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from terrablate.models.stages import stages

_ATTENTION = re.compile(r"\w*(Attention|Attn)\w*")
"""Modules whose inside mixes places: what their layers give is not of places of the image."""
_POOLING = re.compile(r"\w*Pool(2d)?(Same)?")

type Call = tuple[str, int]
"""Name of a module, and which call of it, from 0."""


@dataclass(frozen=True)
class Form:
    """How the channels and places of a layer's output are arranged."""

    kind: Literal["maps", "maps_last", "tokens", "units"]
    """N,C,H,W; N,H,W,C; N,places,C; or N,C without places."""
    side: int
    """Places along a side; 1 for units."""
    extra: int = 0
    """Tokens before those of places, such as the class token."""

    def maps(self, values: torch.Tensor) -> torch.Tensor:
        """An output in this form as N,C,side,side, a copy of its own."""
        match self.kind:
            case "maps":
                return values.clone()
            case "maps_last":
                return values.permute(0, 3, 1, 2).clone()
            case "tokens":
                places = values[:, self.extra :]
                return places.transpose(1, 2).reshape(len(values), -1, self.side, self.side)
            case "units":
                return values.reshape(len(values), -1, 1, 1).clone()


@dataclass(frozen=True)
class Output:
    """What a call of a module gave."""

    name: str
    number: int
    """Which call of the module, from 0."""
    module: nn.Module
    values: torch.Tensor
    form: Form
    stage: int
    """Index of the stage that was under way."""
    is_pooled: bool
    """Whether a pooling gave it, or the end of a container gave on what a pooling gave."""

    @property
    def call(self) -> Call:
        """Which it was."""
        return self.name, self.number

    @property
    def is_map(self) -> bool:
        """Whether it has places."""
        return self.form.side > 1

    @property
    def channels(self) -> int:
        """Their number."""
        return self.values.shape[-1 if self.form.kind in ("maps_last", "tokens") else 1]


@dataclass(frozen=True)
class Trace:
    """What the modules of a network gave, in the order in which they ended."""

    outputs: list[Output]
    stage_names: list[str]
    logits: torch.Tensor
    calls: Counter[str]

    def stage_outputs(self) -> list[tuple[str, Output]]:
        """The last output of each stage but the head, with the stage's name.

        What leads over to dense layers is passed over where a stage has maps: poolings that leave one place or repeat
        places, and what follows them, as flattening.
        """
        found: dict[int, Output] = {}
        pooled: set[int] = set()
        for output in self.outputs:
            earlier, side = found.get(output.stage), output.form.side
            if earlier is not None and earlier.form.kind != "units":
                if output.is_pooled and (side == 1 or side > earlier.form.side):
                    pooled.add(output.stage)
                    continue
                if output.form.kind == "units" or (side == 1 and output.stage in pooled):
                    continue
            pooled.discard(output.stage)
            found[output.stage] = output
        return [(self.stage_names[stage], found[stage]) for stage in sorted(found) if stage < len(self.stage_names) - 1]


def trace(network: nn.Module, images: torch.Tensor) -> Trace:
    """Pass images through and note what modules give, outside of attention; graphs are kept if gradients are on.

    Args:
        network: in eval mode.
        images: N,C,H,W as it takes them, at least 2.
    """
    told = stages(network)
    stage_of = {name: index for index, stage in enumerate(told) for name in stage.parameters}
    inside = [f"{name}." for name, module in network.named_modules() if name and _is_attention(module)]
    prefixes = _prefixes(network)
    named = {stage.name: index for index, stage in enumerate(told)}
    outputs: list[Output] = []
    calls: Counter[str] = Counter()
    pooled: set[int] = set()
    under_way = [0]

    def enter(name: str, module: nn.Module) -> None:
        own = [stage_of[f"{name}.{key}".lstrip(".")] for key, _ in module.named_parameters(recurse=False)]
        under_way[0] = max(under_way[0], min(own, default=0), named.get(name, 0))

    def leave(name: str, module: nn.Module, values: Any) -> None:
        number = calls[name]
        calls[name] += 1
        if not isinstance(values, torch.Tensor) or name.startswith(tuple(inside)):
            return
        form = form_of(values.shape, len(images), prefixes)
        if _is_pooling(module):
            pooled.add(id(values))
        if form is not None and not isinstance(module, nn.Identity | _DropoutNd):
            outputs.append(Output(name, number, module, values, form, under_way[0], id(values) in pooled))

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda module, _, name=name: enter(name, module)))
        handles.append(module.register_forward_hook(lambda module, _, given, name=name: leave(name, module, given)))
    try:
        logits = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(outputs, [stage.name for stage in told], logits, calls)


@contextmanager
def reading(network: nn.Module, wanted: Sequence[Output]) -> Iterator[dict[Call, torch.Tensor]]:
    """While the network is called: the maps N,C,side,side of some outputs, of its last call."""
    counts: Counter[str] = Counter()
    forms = {output.call: output.form for output in wanted}
    found: dict[Call, torch.Tensor] = {}

    def leave(name: str, values: torch.Tensor) -> None:
        call = (name, counts[name])
        if call in forms:
            found[call] = forms[call].maps(values)
        counts[name] += 1

    modules = {output.name: output.module for output in wanted}
    handles = [
        module.register_forward_hook(lambda _, __, given, name=name: leave(name, given))
        for name, module in modules.items()
    ]
    handles.append(network.register_forward_pre_hook(lambda _, __: counts.clear()))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def form_of(shape: Sequence[int], batch: int, prefixes: Sequence[int] = (0, 1)) -> Form | None:
    """How an output of this shape is arranged; None if it has no places of square images, nor units.

    Args:
        shape: of the output.
        batch: images of the batch.
        prefixes: numbers of tokens that may stand before those of places, the likeliest first.
    """
    if shape[0] != batch:
        return None
    match list(shape[1:]):
        case [_]:
            return Form("units", 1)
        case [count, _]:
            for extra in prefixes:
                side = isqrt(max(0, count - extra))
                if side > 1 and side * side == count - extra:
                    return Form("tokens", side, extra)
        case [_, height, width] if height == width:
            return Form("maps", height)
        case [height, width, _] if height == width:
            return Form("maps_last", height)
    return None


def _prefixes(network: nn.Module) -> tuple[int, ...]:
    told = getattr(network, "num_prefix_tokens", None)  # of timm's transformers; some add them late
    return tuple(dict.fromkeys((told, 0, 1))) if isinstance(told, int) else (0, 1)


def _is_attention(module: nn.Module) -> bool:
    return _ATTENTION.fullmatch(type(module).__name__) is not None


def _is_pooling(module: nn.Module) -> bool:
    return _POOLING.fullmatch(type(module).__name__) is not None
