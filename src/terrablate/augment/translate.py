"""Shifts, per sample."""

import torch

from terrablate.augment.affine import translated
from terrablate.augment.draws import symmetric


def translate(images: torch.Tensor, generator: torch.Generator, fraction: float = 0.1) -> torch.Tensor:
    """Shift each image along both axes, each by a distance uniform in +- fraction of the side.

    Args:
        images: N,C,H,W; only its shape and device matter.
        generator: the augmentation stream, on the images' device.
        fraction: largest shift, 0 to 1.

    Returns:
        N,3,3, for `terrablate.augment.affine.warp`: bilinear, mirrored at the edges, within each band's range.
    """
    right, down = symmetric(images, generator, 2, len(images)) * fraction
    return translated(right, down)
