"""Receptive fields, carried through a network beside its tensors, operation by operation (after Araujo et al. 2019).

Along each axis of the image a tensor has an interval of pixels (low, high), which its unit at position 0 sees, and the
jump by which the interval moves from one unit to the next. A sliding window with kernel k, dilation d, stride s and
padding p turns (low, high, jump) into (low - p jump, high + ((k - 1) d - p) jump, s jump). Where branches meet, the
union counts. Borders do not: a field may be larger than the image. It is the whole image once values of all positions
were summed up: by global pooling, attention, a dense layer on flattened positions.

Not counted are the statistics that a normalisation takes over positions. Where an operation cannot be followed exactly
(attention within windows, resizing), the field is taken to be the whole image: an upper bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from terrablate.describe.fields import Dimension, Extent, Factor, Field, axes_of, everything


class ReceptiveFields:
    """The fields of all tensors that are computed from images.

    Args:
        images: N,C,H,W, where the fields begin.
    """

    def __init__(self, images: torch.Tensor) -> None:
        count, channels, height, width = images.shape
        dimensions = ((Factor("", count),), (Factor("", channels),), (Factor("h", height),), (Factor("w", width),))
        self._fields = {id(images): (images, Field(Extent(0, 0, 1), Extent(0, 0, 1), dimensions))}

    def of(self, tensor: torch.Tensor) -> Field | None:
        """The field of a tensor; None if it does not depend on the images."""
        found = self._fields.get(id(tensor))
        return None if found is None else found[1]

    def follow(self, operation: OpOverload, arguments: Sequence[Any], output: Any) -> None:
        """Note the fields of what an operation of ATen gives.

        Args:
            operation: such as `aten.convolution.default`.
            arguments: by position.
            output: a tensor or several.
        """
        inputs = [value for value in tree_leaves(list(arguments)) if isinstance(value, torch.Tensor)]
        fields = [self.of(tensor) for tensor in inputs]
        if not any(fields):
            return
        rule = _rule(operation)
        for number, tensor in enumerate(tree_leaves(output)):
            if isinstance(tensor, torch.Tensor):
                field = rule(_Step(inputs, fields, arguments, tensor, number))
                self._fields[id(tensor)] = (tensor, field)  # the tensor is kept, so that its id stays its own


@dataclass(frozen=True)
class _Step:
    """An operation that was carried out, seen from one of the tensors that it gave."""

    inputs: Sequence[torch.Tensor]
    fields: Sequence[Field | None]
    arguments: Sequence[Any]
    output: torch.Tensor
    number: int

    @property
    def shape(self) -> torch.Size:
        return self.output.shape

    @property
    def field(self) -> Field:
        """Of the first input that depends on the images."""
        return next(field for field in self.fields if field is not None)

    def argument(self, position: int, default: Any = None) -> Any:
        return self.arguments[position] if position < len(self.arguments) else default

    def dimension(self, position: int, default: int = 0) -> int:
        """An argument that is a dimension, counted from the front."""
        return int(self.argument(position, default)) % len(self.field.dimensions)


# --- windows


def _windows(
    step: _Step, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Field:
    """Windows that slide over the last dimensions."""
    field, count = step.field, len(kernel)
    for number, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
        place = len(field.dimensions) - count + number
        if (k, s, p) != (1, 1, 0):
            field = field.along(place, partial(Extent.window, kernel=k, stride=s, padding=p, dilation=d))
    return field.with_sizes([*step.shape]) if len(step.shape) == len(field.dimensions) else field


def _convolution(step: _Step) -> Field:
    weight, transposed = step.arguments[1], step.arguments[6]
    count = weight.dim() - 2
    if step.fields[0] is None or transposed:
        return everything(step.shape)
    stride, padding, dilation = (_each(step.arguments[place], count) for place in (3, 4, 5))
    field = _windows(step, weight.shape[2:], stride, padding, dilation)
    return field.summed(axes_of(step.field.dimensions[1]))  # over the channels


def _pool(step: _Step) -> Field:
    """max_pool2d_with_indices(input, kernel, stride, padding, dilation), avg_pool2d(input, kernel, stride, padding)."""
    kernel = _each(step.arguments[1], 2)
    dilation = step.argument(4, 1)
    dilations = [1, 1] if isinstance(dilation, bool) else _each(dilation, 2)  # ceil_mode stands here in avg_pool2d
    return _windows(step, kernel, _each(step.argument(2) or kernel, 2), _each(step.argument(3, 0), 2), dilations)


def _adaptive_pool(step: _Step) -> Field:
    """Output unit i pools the input's from floor(i n / m) to ceil((i + 1) n / m); the widest counts."""
    field, sizes = step.field, step.inputs[0].shape
    for place in (-2, -1):
        before, after = sizes[place], step.shape[place]
        if after == 1:
            field = field.summed(axes_of(field.dimensions[place]))
            continue
        width = max(-(-(unit + 1) * before // after) - unit * before // after for unit in range(after))
        field = field.along(place, partial(Extent.window, kernel=width, stride=before / after, padding=0))
    return field.with_sizes(step.shape)


def _unfold(step: _Step) -> Field:
    """im2col(input, kernel, dilation, padding, stride): each window a column N, C k k, positions."""
    kernel, dilation, padding, stride = (_each(step.arguments[place], 2) for place in (1, 2, 3, 4))
    slid = _windows(step, kernel, stride, padding, dilation)
    counts = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, d, p, s in zip(step.inputs[0].shape[-2:], kernel, dilation, padding, stride, strict=True)
    ]
    count, _, rows, columns = slid.with_sizes([*step.inputs[0].shape[:2], *counts]).dimensions
    return slid.laid_out([count, (Factor("", step.shape[1]),), rows + columns])


def _unfold_dimension(step: _Step) -> Field:
    """unfold(input, dimension, size, step): the windows stand in a new last dimension."""
    place, size, stride = step.dimension(1), step.arguments[2], step.arguments[3]
    field = step.field.along(place, partial(Extent.window, kernel=size, stride=stride, padding=0)).with_sizes(
        step.shape[:-1]
    )
    return field.laid_out([*field.dimensions, (Factor("", size),)])


def _pad(step: _Step) -> Field:
    """constant_pad_nd(input, [left, right, top, bottom, ...])."""
    field, padding = step.field, step.arguments[1]
    for number, before in enumerate(padding[::2]):
        field = field.along(-1 - number, partial(Extent.moved, units=-before))
    return field.with_sizes(step.shape)


# --- sums over dimensions


def _reduction(step: _Step) -> Field:
    """mean(input, dimensions, keepdim) and its like."""
    field = step.field
    given = step.argument(1)
    places = range(len(field.dimensions)) if given in (None, []) else [given] if isinstance(given, int) else given
    places = {place % len(field.dimensions) for place in places}
    field = field.summed("".join(axes_of(field.dimensions[place]) for place in places))
    kept = len(step.shape) == len(field.dimensions)
    dimensions: list[Dimension] = []
    for place, factors in enumerate(field.dimensions):
        if place not in places:
            dimensions.append(factors)
        elif kept:
            dimensions.append(())
    return field.laid_out(dimensions)


def _softmax(step: _Step) -> Field:
    return step.field.summed(axes_of(step.field.dimensions[step.dimension(1)]))


def _product(step: _Step) -> Field:
    """Matrix products: mm, bmm, and addmm, baddbmm, whose first argument is added; ..., A, B times ..., B, C."""
    left, right = step.fields[-2:]
    if left is not None and right is not None:  # units of both at any two positions
        both = left.broadcast(right, step.shape)
        apart = axes_of(left.dimensions[-1]) + axes_of(right.dimensions[-1]) + axes_of(right.dimensions[-2])
        return both.summed(apart).laid_out([*left.dimensions[:-1], right.dimensions[-1]])
    if left is not None:
        columns = (Factor("", step.shape[-1]),)
        return left.summed(axes_of(left.dimensions[-1])).laid_out([*left.dimensions[:-1], columns])
    if right is not None:
        rows = (Factor("", step.shape[-2]),)
        summed = right.summed(axes_of(right.dimensions[-2]))
        return summed.laid_out([*right.dimensions[:-2], rows, right.dimensions[-1]])
    return step.field


# --- the same values in another place


def _reshape(step: _Step) -> Field:
    return step.field.reshaped(step.shape)


def _permute(step: _Step) -> Field:
    dimensions = step.field.dimensions
    return step.field.laid_out([dimensions[place] for place in step.arguments[1]])


def _transpose(step: _Step) -> Field:
    dimensions = list(step.field.dimensions)
    one, other = step.dimension(1, -2), step.dimension(2, -1)  # `t` has no dimensions: the last two
    if len(dimensions) > 1:
        dimensions[one], dimensions[other] = dimensions[other], dimensions[one]
    return step.field.laid_out(dimensions)


def _slice(step: _Step) -> Field:
    """slice(input, dimension, start, end, step)."""
    place, start, stride = step.dimension(1), step.argument(2) or 0, step.argument(4, 1)
    start = start + step.inputs[0].shape[place] if start < 0 else start
    field = step.field.along(place, lambda extent: extent.moved(start).window(1, stride, 0))
    return field.with_sizes(step.shape)


def _select(step: _Step) -> Field:
    """select(input, dimension, index), and unbind(input, dimension)."""
    place = step.dimension(1)
    kept = [factors for number, factors in enumerate(step.field.dimensions) if number != place]
    return step.field.laid_out(kept)


def _split(step: _Step) -> Field:
    """split(input, sizes, dimension), of which each part begins after the ones before it."""
    place = step.dimension(2)
    before = (
        step.number * step.arguments[1] if isinstance(step.arguments[1], int) else sum(step.arguments[1][: step.number])
    )
    return step.field.along(place, partial(Extent.moved, units=before)).with_sizes(step.shape)


def _roll(step: _Step) -> Field:
    """roll(input, shifts, dimensions); what comes round from the other side is not counted."""
    field = step.field
    for shift, place in zip(step.arguments[1], step.argument(2, []), strict=True):
        field = field.along(place, partial(Extent.moved, units=-shift))
    return field


def _concatenation(step: _Step) -> Field:
    """cat(inputs, dimension)."""
    place = step.dimension(1)
    union = step.field.with_sizes(step.shape)
    for field in step.fields:
        if field is not None:
            union = union.broadcast(field.with_sizes(step.shape), step.shape)
    if axes := axes_of(union.dimensions[place]):  # positions of several tensors after one another
        mixed = (Factor(axes, step.shape[place], whole=False),)
        union = union.laid_out([mixed if number == place else f for number, f in enumerate(union.dimensions)])
    return union


def _elementwise(step: _Step) -> Field:
    """A unit of the output meets one unit of each input, sizes of 1 being repeated."""
    union = step.field.broadcast(step.field, step.shape)
    for field in step.fields:
        if field is not None:
            union = union.broadcast(field, step.shape)
    return union


def _normalise(step: _Step) -> Field:
    """The normalised values; the statistics, which come with them, are of no layer's output."""
    return step.field if step.number == 0 else everything(step.shape)


def _unknown(step: _Step) -> Field:
    return everything(step.shape)


def _each(value: Any, count: int) -> list[int]:
    """A number for each dimension, where one may stand for all."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


_RULES: dict[str, Callable[[_Step], Field]] = {
    "convolution": _convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d"), _pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool),
    "im2col": _unfold,
    "unfold": _unfold_dimension,
    "constant_pad_nd": _pad,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "prod", "logsumexp", "linalg_vector_norm"), _reduction),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax", "cumsum"), _softmax),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _product),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "reshape", "unsqueeze", "squeeze"), _reshape),
    "permute": _permute,
    **dict.fromkeys(("t", "transpose"), _transpose),
    "slice": _slice,
    **dict.fromkeys(("select", "unbind"), _select),
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "roll": _roll,
    "cat": _concatenation,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training"), _normalise),
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "_fused_rms_norm"), _normalise),
    **dict.fromkeys(("native_channel_shuffle", "channel_shuffle"), _elementwise),
    **dict.fromkeys(("clone", "copy", "_to_copy", "alias", "detach", "expand", "as_strided", "rsub"), _elementwise),
}
"""By the name of the operation in ATen, without an underscore at its end."""


def _rule(operation: OpOverload) -> Callable[[_Step], Field]:
    name = operation._schema.name.removeprefix("aten::").removesuffix("_")
    return _RULES.get(name, _elementwise if torch.Tag.pointwise in operation.tags else _unknown)
