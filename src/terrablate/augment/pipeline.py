"""A recipe of augmentations: its operations one after another, from one random stream."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import nn

from terrablate.augment.color import color
from terrablate.augment.flip import flip
from terrablate.config.schema import Color, Flip

OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {"flip": flip, "color": color}
"""Every operation of a recipe by the name it has in YAML; its parameters are typed in `terrablate.config.schema`."""


class Augmentation(nn.Module):
    """A recipe as a function of a batch.

    Args:
        operations: as the config names them, in order; none is the identity.
        spread: C, deviation of each band in the training data on the sensor's scale, for operations that measure by it.
    """

    def __init__(self, operations: Sequence[Flip | Color], spread: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("spread", spread, persistent=False)
        self._steps = [(OPERATIONS[operation.op], _parameters(operation)) for operation in operations]
        self._by_spread = [fn for fn, _ in self._steps if "spread" in inspect.signature(fn).parameters]

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment a batch, N,C,H,W, on the sensor's scale and before standardisation."""
        for function, parameters in self._steps:
            measure = {"spread": self.get_buffer("spread")} if function in self._by_spread else {}
            images = function(images, generator, **parameters, **measure)
        return images


def _parameters(operation: Flip | Color) -> dict[str, float]:
    return {key: value for key, value in asdict(operation).items() if key != "op"}
