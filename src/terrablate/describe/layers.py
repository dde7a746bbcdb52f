"""The layer table of a network: what each layer gives, learns, costs and sees, and what training takes in memory.

The figures follow these rules, for float32 (4 bytes a value):

- *Parameters* count at the first call of the layer that holds them.
- *MACs*, multiply-accumulates, are those of matrix products (convolutions, dense layers, attention) for one image;
  normalisations, activations and poolings are left out, as is usual.
- *Output* is what a layer gives, each tensor once: a layer that writes over its input (ReLU in place) or only views it
  (flatten) adds nothing. This is the count of the textbooks.
- *Kept* is what autograd really keeps for the backward pass, measured: the storages that operations save, each once, at
  the layer that saves it first; no parameters. Training memory follows it, since nothing else lasts until the backward
  pass. It is less than the output where nobody reads a tensor again (a convolution's before a ReLU that is not in
  place), and more where a layer saves something of its own: max pooling its indices, 8 bytes each; dropout its mask;
  a normalisation its input, besides its output, which the next layer needs.

For VGG-16 the outputs and the image are 15.2 million values (61 MB) and autograd keeps 73.2 MB: these values, plus
1.5 million pooling indices of 8 bytes. The 24 million values (93 MB) that are often quoted (Stanford's CS231n notes)
are neither: their own rows add up to 15.2 million. A ReLU does not add its own tensor, in place or not: its backward
pass needs its output only, which is the next layer's input.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from terrablate.describe.trace import Call, keep, trace
from terrablate.errors import ConfigError

_BYTES = 4
"""Of a float32."""


@dataclass(frozen=True)
class Layer:
    """A row of the table, for one image."""

    name: str
    kind: str
    output: tuple[int, ...]
    """Shape without the batch; empty if the layer is never called."""
    parameters: int
    output_bytes: float
    kept_bytes: float
    """A share of what autograd keeps for the batch."""
    receptive_field: int | None
    """Side in pixels; None: the whole image."""
    macs: int
    dense_parameters: int | None = None
    """Of a dense layer with a convolution's input and output shapes; None for other layers."""
    local_parameters: int | None = None
    """Of a locally connected layer, which has a convolution's windows and shares no weights between them."""


@dataclass(frozen=True)
class Totals:
    """What a network has and costs."""

    parameters: int
    trainable_parameters: int
    """Those that fine-tuning does not freeze for good."""
    weight_bytes: int
    """Parameters and buffers."""
    macs: int
    """Of one image."""
    output_bytes: float
    """Of one image, which is counted, too."""
    kept_bytes: float
    """Of one image; what autograd keeps for the batch, divided."""
    training_bytes: dict[str, int]
    """Weights, gradients, what autograd keeps for the batch, and the optimizer's state, by optimizer."""


@dataclass(frozen=True)
class Description:
    """A network, described."""

    model: str
    input: tuple[int, int, int]
    classes: int
    batch_size: int
    layers: list[Layer]
    totals: Totals

    def as_dict(self) -> dict[str, Any]:
        """Nested dicts and lists, ready for JSON."""
        return asdict(self)


def describe(
    network: nn.Module, shape: tuple[int, int, int], batch_size: int, hold: Callable[[], None] = lambda: None
) -> tuple[list[Layer], Totals]:
    """Describe any network on the meta device.

    Args:
        network: parameters without gradient are frozen: they take no memory for gradients and optimizer.
        shape: C,H,W of its images.
        batch_size: images of a training step.
        hold: called in train mode, puts back in eval mode what fine-tuning holds there.

    Raises:
        ConfigError: if the network cannot train on such a batch.
    """
    calls = trace(network, torch.empty(1, *shape, device="meta"))
    batch = torch.empty(batch_size, *shape, device="meta")
    try:
        kept = {(call.name, call.number): call for call in keep(network, batch, hold)}
    except ValueError as error:
        raise ConfigError(f"batch_size={batch_size}: the network cannot train on such a batch: {error}") from error
    reached = {(call.name, call.number) for call in calls}
    calls += [call for key, call in kept.items() if key not in reached]  # auxiliary heads work in training only
    counted: set[int] = set()
    layers = []
    for call in calls:
        memory = kept.get((call.name, call.number), call)
        layer = _layer(call, memory, batch_size, counted)
        if layer is not None:
            layers.append(layer)
    layers += _never_called(network, counted)
    return layers, _totals(network, layers, shape, batch_size, sum(call.kept_bytes for call in kept.values()))


def _layer(call: Call, memory: Call, batch_size: int, counted: set[int]) -> Layer | None:
    """The row of a call; None for containers and placeholders, which have nothing of their own."""
    parameters = _parameters(call.module, counted)
    kept = memory.kept_bytes / batch_size
    is_layer = next(call.module.children(), None) is None and not _does_nothing(call.module)
    if not (is_layer or parameters or call.macs or kept):
        return None
    dense, local = _alternatives(call)
    shape = call.output_shape
    return Layer(
        name=call.name or "(network)",
        kind=type(call.module).__name__,
        output=shape[1:] if shape[:1] == (1,) else shape,
        parameters=parameters,
        output_bytes=memory.output_bytes / batch_size if is_layer or parameters else 0,
        kept_bytes=kept,
        receptive_field=call.receptive_field,
        macs=call.macs,
        dense_parameters=dense,
        local_parameters=local,
    )


def _does_nothing(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity) or (isinstance(module, _DropoutNd) and module.p == 0)


def _parameters(module: nn.Module, counted: set[int]) -> int:
    new = {id(value): value.numel() for value in module.parameters(recurse=False) if id(value) not in counted}
    counted.update(new)
    return sum(new.values())


def _never_called(network: nn.Module, counted: set[int]) -> list[Layer]:
    rows = []
    for name, module in network.named_modules():
        if parameters := _parameters(module, counted):
            rows.append(Layer(name, type(module).__name__, (), parameters, 0, 0, None, 0))
    return rows


def _alternatives(call: Call) -> tuple[int | None, int | None]:
    """Parameters, biases included, of a dense and of a locally connected layer in the place of a convolution."""
    layer, given, output = call.module, call.input_shape, call.output_shape
    if not isinstance(layer, nn.Conv2d) or len(given) != 4:
        return None, None
    units = output[1] * output[2] * output[3]
    window = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
    return (given[1] * given[2] * given[3] + 1) * units, (window + 1) * units


def _totals(network: nn.Module, layers: Sequence[Layer], shape: Sequence[int], batch_size: int, kept: int) -> Totals:
    parameters = list(network.parameters())
    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*parameters, *network.buffers()))
    learnt = sum(value.numel() * value.element_size() for value in parameters if value.requires_grad)
    image = shape[0] * shape[1] * shape[2] * _BYTES
    plain = weights + learnt + kept
    return Totals(
        parameters=sum(value.numel() for value in parameters),
        trainable_parameters=sum(value.numel() for value in parameters if value.requires_grad),
        weight_bytes=weights,
        macs=sum(layer.macs for layer in layers),
        output_bytes=image + sum(layer.output_bytes for layer in layers),
        kept_bytes=kept / batch_size,
        training_bytes={"sgd": plain, "sgd_momentum": plain + learnt, "adam": plain + 2 * learnt},
    )
