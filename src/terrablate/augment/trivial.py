"""TrivialAugment, per sample, for any number of bands."""

from collections.abc import Sequence

import torch

from terrablate.augment.changes import change_each
from terrablate.augment.draws import symmetric
from terrablate.config.schema.augment import CHANGES, Change


def trivial(
    images: torch.Tensor,
    generator: torch.Generator,
    spread: torch.Tensor,
    magnitude: float = 1.0,
    operations: Sequence[Change] = CHANGES,
) -> torch.Tensor:
    """Apply one change of a magnitude that is drawn, too (Mueller and Hutter 2021, "TrivialAugment").

    Args:
        images: N,C,H,W on the sensor's scale, before standardisation.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.
        magnitude: largest magnitude, 0 to below 2; uniform from 0 to it, in either direction. 1 is the widths at the
            top of `terrablate.augment.changes`.
        operations: what to choose from.

    Returns:
        N,C,H,W; bounds as in `terrablate.augment.changes`.
    """
    level = symmetric(images, generator, len(images)) * magnitude
    return change_each(images, level, magnitude, generator, spread, operations)
