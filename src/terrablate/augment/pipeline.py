"""A recipe of augmentations: its operations one after another, from one random stream."""

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from terrablate.augment.affine import warp
from terrablate.augment.band_drop import band_drop
from terrablate.augment.blur import blur
from terrablate.augment.color import color
from terrablate.augment.crop import crop
from terrablate.augment.cutmix import cutmix
from terrablate.augment.erase import erase
from terrablate.augment.flip import flip
from terrablate.augment.mixup import mixup
from terrablate.augment.noise import noise
from terrablate.augment.randaug import randaug
from terrablate.augment.rotate import rotate
from terrablate.augment.rotate90 import rotate90
from terrablate.augment.translate import translate
from terrablate.augment.trivial import trivial
from terrablate.config.checks.augment import check_bands
from terrablate.config.schema.augment import Operation

type Function = Callable[..., Any]

IMAGE_OPERATIONS: dict[str, Function] = {
    "flip": flip, "rotate90": rotate90, "color": color, "noise": noise, "blur": blur, "erase": erase,
    "band_drop": band_drop, "randaug": randaug, "trivial": trivial,
}  # fmt: skip
"""Images to images."""
AFFINE_OPERATIONS: dict[str, Function] = {"rotate": rotate, "crop": crop, "translate": translate}
"""Images to matrices, so that neighbours share one interpolation."""
MIXING_OPERATIONS: dict[str, Function] = {"mixup": mixup, "cutmix": cutmix}
"""Images and targets to images and targets."""
OPERATIONS = IMAGE_OPERATIONS | AFFINE_OPERATIONS | MIXING_OPERATIONS
"""All by the name they have in YAML; their parameters are typed in `terrablate.config.schema.augment`."""


class Augmentation(nn.Module):
    """A recipe as a function of a batch, and of its labels where it mixes them.

    Args:
        operations: as the config names them, in order; none is the identity.
        spread: C, deviation of each band in the training data on the sensor's scale.
        center: C, mean of each band in the training data on the sensor's scale, for `band_drop`.
        rgb: positions of red, green and blue where the bands are these three, for saturation and hue.
        strength: scales the whole recipe: 0 is the identity and draws nothing, 1 the recipe as it is written.

    Raises:
        ConfigError: if an operation cannot act on these bands.
        ValueError: if `band_drop` is not told the center.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        spread: torch.Tensor,
        center: torch.Tensor | None = None,
        rgb: tuple[int, int, int] | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        check_bands(operations, len(spread), has_rgb=rgb is not None)
        if center is None and any(operation.op == "band_drop" for operation in operations):
            raise ValueError("band_drop replaces bands by their means; give center")
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("center", center, persistent=False)
        self._rgb = rgb
        acting = [operation.scaled(strength) for operation in operations if operation.acts] if strength else []
        single = [operation for operation in acting if operation.op not in MIXING_OPERATIONS]
        self._groups = [
            (is_affine, [_bound(operation) for operation in group])
            for is_affine, group in itertools.groupby(single, lambda operation: operation.op in AFFINE_OPERATIONS)
        ]
        self._mixing = [_bound(operation) for operation in acting if operation.op in MIXING_OPERATIONS]

    @property
    def mixes(self) -> bool:
        """Whether `mix` does anything, so that targets must be shares of classes, not class numbers."""
        return bool(self._mixing)

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment each image on its own.

        Args:
            images: N,C,H,W on the sensor's scale, before standardisation; left as they are.
            generator: the augmentation stream, on the images' device.
        """
        if not self._groups:
            return images
        with _full_precision(images):
            for is_affine, operations in self._groups:
                if is_affine:
                    # a later operation moves the result of the earlier ones: its places are looked up in theirs
                    matrices = [operation(images, generator) for operation in operations]
                    images = warp(images, functools.reduce(torch.matmul, matrices))
                else:
                    for operation in operations:
                        images = operation(images, generator, **self._measures_of(operation))
        return images

    def mix(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix images, and their labels alike.

        Args:
            images: N,C,H,W, augmented.
            targets: N,K, one-hot or soft labels, or shares of several; floating point.
            generator: the augmentation stream, on the images' device.

        Returns:
            Images and targets of the same shapes; the very same ones where the recipe mixes nothing.
        """
        if not self.mixes:
            return images, targets
        with _full_precision(images):
            for operation in self._mixing:
                images, targets = operation(images, targets, generator)
        return images, targets

    def _measures_of(self, operation: "functools.partial[Any]") -> dict[str, Any]:
        """What an operation takes besides its parameters; buffers are looked up late, since they change devices."""
        measures = {"spread": self.get_buffer("spread"), "center": self._buffers["center"], "rgb": self._rgb}
        return {name: value for name, value in measures.items() if name in _parameters(operation.func)}


@functools.cache
def _parameters(function: Function) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _full_precision(images: torch.Tensor) -> torch.autocast:
    """No autocast: products of matrices in bfloat16 would misplace pixels."""
    return torch.autocast(images.device.type, enabled=False)


def _bound(operation: Operation) -> "functools.partial[Any]":
    """The function of an operation with its parameters."""
    parameters = {field.name: getattr(operation, field.name) for field in fields(operation) if field.name != "op"}
    return functools.partial(OPERATIONS[operation.op], **parameters)
