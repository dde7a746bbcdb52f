"""Random resized crops, per sample."""

from collections.abc import Sequence

import torch

from terrablate.augment.affine import window
from terrablate.augment.boxes import random_sides
from terrablate.augment.draws import symmetric


def crop(
    images: torch.Tensor,
    generator: torch.Generator,
    area: Sequence[float] = (0.5, 1.0),
    ratio: Sequence[float] = (0.75, 4 / 3),
) -> torch.Tensor:
    """Show a random part of each image at the size of the whole (Szegedy et al. 2015, "Going deeper").

    Args:
        images: N,C,H,W; only its shape and device matter.
        generator: the augmentation stream, on the images' device.
        area: smallest and largest fraction of the area that is kept, uniform between them.
        ratio: smallest and largest ratio of width to height, log-uniform between them; see `boxes.random_sides`.

    Returns:
        N,3,3, for `terrablate.augment.affine.warp`: bilinear, within each band's range.
    """
    width, height = random_sides(images, generator, area, ratio)
    x, y = symmetric(images, generator, 2, len(images)) * torch.stack([1 - width, 1 - height])
    return window(width, height, x, y)
