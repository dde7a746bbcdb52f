"""RandAugment, per sample, for any number of bands."""

from collections.abc import Sequence

import torch

from terrablate.augment.changes import change_each
from terrablate.augment.draws import uniform
from terrablate.config.schema.augment import CHANGES, Change


def randaug(
    images: torch.Tensor,
    generator: torch.Generator,
    spread: torch.Tensor,
    n: int = 2,
    magnitude: float = 0.3,
    operations: Sequence[Change] = CHANGES,
) -> torch.Tensor:
    """Apply n changes of one magnitude, drawn for each image anew (Cubuk et al. 2020, "RandAugment").

    The direction (to the left or right, brighter or darker) is drawn, too. Of the paper's changes those are left out
    that need values between 0 and 1 and say nothing about a sensor (solarize, posterize, equalize, autocontrast);
    haze, gains of bands and noise stand in their place.

    Args:
        images: N,C,H,W on the sensor's scale, before standardisation.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.
        n: changes an image, drawn with replacement.
        magnitude: 0 to below 2; 1 is the widths at the top of `terrablate.augment.changes`. The paper's 9 of 30 is 0.3.
        operations: what to choose from.

    Returns:
        N,C,H,W; bounds as in `terrablate.augment.changes`, n times.
    """
    for _ in range(n):
        direction = torch.where(uniform(images, generator, len(images)) < 0.5, -1.0, 1.0).to(images.dtype)
        images = change_each(images, direction * magnitude, magnitude, generator, spread, operations)
    return images
