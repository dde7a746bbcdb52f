"""A recipe of augmentations: its operations one after another, from one random stream."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch

from terrablate.augment.color import color
from terrablate.augment.flip import flip
from terrablate.config.schema import Color, Flip

OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {"flip": flip, "color": color}
"""Every operation of a recipe by the name it has in YAML; its parameters are typed in `terrablate.config.schema`."""


class Augmentation:
    """A recipe as a function of a batch.

    Args:
        operations: as the config names them, in order; none is the identity.
    """

    def __init__(self, operations: Sequence[Flip | Color]) -> None:
        self._steps = [(OPERATIONS[operation.op], _parameters(operation)) for operation in operations]

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment a batch, N,C,H,W, on the sensor's scale and before standardisation."""
        for function, parameters in self._steps:
            images = function(images, generator, **parameters)
        return images


def _parameters(operation: Flip | Color) -> dict[str, float]:
    return {key: value for key, value in asdict(operation).items() if key != "op"}
