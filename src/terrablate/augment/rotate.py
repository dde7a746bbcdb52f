"""Free rotation, per sample."""

import math

import torch

from terrablate.augment.affine import rotated
from terrablate.augment.draws import symmetric


def rotate(images: torch.Tensor, generator: torch.Generator, degrees: float = 15.0) -> torch.Tensor:
    """Turn each image about its centre by an angle uniform in +- degrees.

    Args:
        images: N,C,H,W; only its shape and device matter.
        generator: the augmentation stream, on the images' device.
        degrees: largest angle, 0 to 180.

    Returns:
        N,3,3, for `terrablate.augment.affine.warp`: bilinear, mirrored at the edges, within each band's range.
    """
    angles = symmetric(images, generator, len(images)) * math.radians(degrees)
    return rotated(angles, *images.shape[-2:])
