"""What the units of a tensor see of the image: an interval of pixels an axis, and where in the tensor they stand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Extent:
    """The pixels, along one axis of the image, that the unit at position 0 sees, both ends included.

    The next unit's are `jump` pixels further.
    """

    low: float
    high: float
    jump: float

    def moved(self, units: float) -> "Extent":
        """Of the unit so many positions further."""
        return replace(self, low=self.low + units * self.jump, high=self.high + units * self.jump)

    def window(self, kernel: float, stride: float, padding: float, dilation: float = 1) -> "Extent":
        """After a sliding window."""
        low = self.low - padding * self.jump
        return Extent(low, self.high + ((kernel - 1) * dilation - padding) * self.jump, self.jump * stride)


@dataclass(frozen=True)
class Factor:
    """A factor of a dimension's size."""

    axes: str
    """Axes of the image that run along it: `h`, `w`, `hw` where they are mixed, or none."""
    size: int
    whole: bool = True
    """Whether it is all that there is of its axis, one unit after the other."""


type Dimension = tuple[Factor, ...]
"""Factors of a dimension, the slowest first, as in a flattened H x W."""


@dataclass(frozen=True)
class Field:
    """What the units of a tensor see of the image; an extent that is None is the whole image."""

    h: Extent | None
    w: Extent | None
    dimensions: tuple[Dimension, ...]

    @property
    def pixels(self) -> int | None:
        """Side of the field in pixels, the longer one; None: the whole image."""
        if self.h is None or self.w is None:
            return None
        return max(math.ceil(extent.high - extent.low) + 1 for extent in (self.h, self.w))

    def summed(self, axes: str) -> "Field":
        """After values of all positions along the axes were summed up."""
        return replace(self, h=None if "h" in axes else self.h, w=None if "w" in axes else self.w)

    def laid_out(self, dimensions: Sequence[Dimension]) -> "Field":
        """In other dimensions."""
        return replace(self, dimensions=tuple(dimensions))

    def along(self, dimension: int, change: Callable[[Extent], Extent]) -> "Field":
        """After a change along one dimension; the whole image where it holds more, or less, than one whole axis."""
        factors = self.dimensions[dimension]
        axes = axes_of(factors)
        if not axes:
            return self
        if len(factors) > 1 or len(axes) > 1 or not factors[0].whole:
            return self.summed(axes)
        if axes == "h":
            return replace(self, h=self.h and change(self.h))
        return replace(self, w=self.w and change(self.w))

    def with_sizes(self, shape: Sequence[int]) -> "Field":
        """With dimensions of other sizes, in the same order."""
        pairs = zip(self.dimensions, shape, strict=True)
        return self.laid_out([_with_size(factors, size) for factors, size in pairs])

    def reshaped(self, shape: Sequence[int]) -> "Field":
        """With its dimensions merged and split; the whole image if no factors fit the new shape."""
        left = [factor for dimension in self.dimensions for factor in dimension if factor.size > 1]
        dimensions: list[Dimension] = []
        for size in shape:
            taken: list[Factor] = []
            while size > 1:
                factor = left.pop(0)
                if size % factor.size == 0:
                    taken.append(factor)
                    size //= factor.size
                elif factor.size % size == 0:
                    taken.append(Factor(factor.axes, size, whole=False))
                    left.insert(0, Factor(factor.axes, factor.size // size, whole=False))
                    size = 1
                else:
                    return everything(shape)
            dimensions.append(tuple(taken))
        return self.laid_out(dimensions)

    def broadcast(self, other: "Field", shape: Sequence[int]) -> "Field":
        """The union with another field, of a tensor that meets this one elementwise."""
        dimensions: list[Dimension] = []
        for position, size in enumerate(reversed(shape)):
            found = [f.dimensions[-1 - position] for f in (self, other) if position < len(f.dimensions)]
            found = [factors for factors in found if axes_of(factors) and math.prod(f.size for f in factors) == size]
            axes = "".join(sorted({axis for factors in found for axis in axes_of(factors)}))
            alike = all(factors == found[0] for factors in found)
            dimensions.insert(0, found[0] if found and alike else (Factor(axes, size, whole=False),))
        return Field(_union(self.h, other.h), _union(self.w, other.w), tuple(dimensions))


def everything(shape: Sequence[int]) -> Field:
    """A tensor of which every unit sees the whole image."""
    return Field(None, None, tuple((Factor("", size),) for size in shape))


def axes_of(factors: Dimension) -> str:
    """Axes of the image that run along a dimension."""
    return "".join(sorted({axis for factor in factors for axis in factor.axes}))


def _with_size(factors: Dimension, size: int) -> Dimension:
    if math.prod(factor.size for factor in factors) == size:
        return factors
    whole = len(factors) == 1 and factors[0].whole
    return (Factor(axes_of(factors), size, whole=whole),)


def _union(one: Extent | None, other: Extent | None) -> Extent | None:
    if one is None or other is None or one.jump != other.jump:
        return None
    return Extent(min(one.low, other.low), max(one.high, other.high), one.jump)
