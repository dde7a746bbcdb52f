"""One pass of images through a network: which layers are called, what they give, and what it costs.

Networks stand on the meta device, which has shapes and no values, so that even a VGG takes neither memory nor time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from terrablate.describe.receptive import ReceptiveFields


@dataclass
class Call:
    """One call of one module. What it counts is its own: what its children do counts for them."""

    name: str
    """In the network; empty for the network itself."""
    module: nn.Module
    number: int
    """How many times the module was called before: shared modules are called more than once."""
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    receptive_field: int | None = None
    """Side in pixels; None: the whole image."""
    macs: int = 0
    output_bytes: int = 0
    """Of the output, if it is new: neither written over the input nor a view of it."""
    kept_bytes: int = 0
    """What autograd keeps for the backward pass, and did not keep already."""


@dataclass
class _Watch:
    """The calls so far, and those that are under way."""

    calls: list[Call] = field(default_factory=list)
    stack: list[Call] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def trace(network: nn.Module, images: torch.Tensor) -> list[Call]:
    """Shapes, multiply-accumulates and receptive fields, in eval mode; the sizes are those for all images together.

    Multiply-accumulates are those of matrix products: convolutions, dense layers, attention, wherever in the network
    they are computed. They are torch's own count of floating-point operations, halved.

    Args:
        network: on the meta device; its mode stays as it was.
        images: N,C,H,W, on the meta device.
    """
    fields = ReceptiveFields(images)
    watch = _Watch()

    def leave(call: Call, output: torch.Tensor) -> None:
        call.output_shape = tuple(output.shape)
        seen = fields.of(output)
        call.receptive_field = seen.pixels if seen else None

    with _mode(network, training=False), torch.no_grad(), _watching(network, watch, leave), _Costs(watch, fields):
        network(images)
    return watch.calls


def keep(network: nn.Module, images: torch.Tensor, hold: Callable[[], None] = lambda: None) -> list[Call]:
    """Bytes that layers give and that autograd keeps, in train mode, for all images together.

    Autograd keeps a tensor for the backward pass when an operation saves it. Counted are the storages of such tensors,
    each once, at its full size, at the first layer that saves it; parameters and buffers are not, as they are there
    anyway. Attention is counted as torch's fused kernels keep it: without its matrix of all pairs of positions.

    Args:
        network: on any device; its mode stays as it was.
        images: N,C,H,W, on the same device; not less than a training batch needs.
        hold: called in train mode, puts back in eval mode what fine-tuning holds there.
    """
    watch = _Watch()
    own = {_storage(tensor) for tensor in (*network.parameters(), *network.buffers())}
    given, kept = {_storage(images)}, dict[int, torch.UntypedStorage]()

    def leave(call: Call, output: torch.Tensor) -> None:
        if _storage(output) not in given:
            given.add(_storage(output))
            call.output_bytes = output.numel() * output.element_size()
            alive.append(output)

    def save(tensor: torch.Tensor) -> torch.Tensor:
        if _storage(tensor) not in own and _storage(tensor) not in kept:
            storage = tensor.untyped_storage()
            kept[_storage(tensor)] = storage
            watch.stack[-1].kept_bytes += storage.nbytes()
        return tensor

    alive: list[torch.Tensor] = []  # so that no storage takes the place of one that was seen
    hooks = torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor)
    with _mode(network, training=True), _watching(network, watch, leave), hooks, _FusedAttention(), torch.enable_grad():
        hold()
        network(images)
    return watch.calls


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def _mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Another mode for a while; running statistics that training changes are put back."""
    modes = {module: module.training for module in network.modules()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train(training)
    try:
        yield
    finally:
        for module, was_training in modes.items():
            module.training = was_training
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])


@contextmanager
def _watching(network: nn.Module, watch: _Watch, leave: Callable[[Call, torch.Tensor], None]) -> Iterator[None]:
    """Note each call of each module.

    Layers that surgery appended to a module run in hooks of it, before or after its own computation: ours stand
    between, so that both count for themselves.
    """

    def enter(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        first = next((value for value in tree_leaves(inputs) if isinstance(value, torch.Tensor)), None)
        call = Call(name, module, watch.counts[name], tuple(first.shape) if first is not None else ())
        watch.counts[name] += 1
        watch.calls.append(call)
        watch.stack.append(call)

    def end(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        call = watch.stack.pop()
        tensors = [value for value in tree_leaves(output) if isinstance(value, torch.Tensor)]
        if tensors:
            leave(call, tensors[0])

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda module, inputs, name=name: enter(name, module, inputs)))
        handles.append(module.register_forward_hook(end, prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Costs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, also those outside of layers."""

    def __init__(self, watch: _Watch, fields: ReceptiveFields) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch
        self._fields = fields

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None and self._watch.stack:
            self._watch.stack[-1].macs += int(count(*args, **(kwargs or {}), out_val=output)) // 2
        self._fields.follow(func, args, output)
        return output


class _FusedAttention(TorchFunctionMode):
    """Attention as torch's fused kernels do it; the meta device has none, and would keep what they do not."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention and args[0].is_meta and not kwargs.get("dropout_p", 0.0):
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            given = dict(zip(names, args, strict=False)) | kwargs
            given.pop("enable_gqa", None)
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(**given)[0]
        return func(*args, **kwargs)
