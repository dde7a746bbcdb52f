"""Gaussian blur, per sample."""

import math

import torch

from terrablate.augment.draws import uniform

_REACH = 3
"""Deviations of the Gaussian after which its kernel ends: 0.3 % of its weight lies beyond."""


def blur(images: torch.Tensor, generator: torch.Generator, sigma: float = 1.0) -> torch.Tensor:
    """Blur each image by a Gaussian whose deviation is uniform from 0 to sigma pixels.

    Args:
        images: N,C,H,W, any range.
        generator: the augmentation stream, on the images' device.
        sigma: largest deviation of the kernel, in pixels.

    Returns:
        N,C,H,W; within the range of each image's band, whose mean stays.
    """
    return blurred(images, sigma * uniform(images, generator, len(images)), sigma)


def blurred(images: torch.Tensor, sigmas: torch.Tensor, largest: float) -> torch.Tensor:
    """Blur by given deviations, N, none above `largest` (which the host knows, so the kernel's size needs no look).

    Beyond its edges the image is mirrored with the outermost pixel repeated (c b a | a b c): with a symmetric kernel
    every pixel gives away as much as it gets, so constants and the total of a band stay. A kernel reaches no
    further than the image is wide.
    """
    # Passes over shifted images, not a grouped convolution: torch's one for N x C groups takes a third longer.
    reach = min(math.ceil(_REACH * largest), *images.shape[-2:])
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    tiny = 1e-3  # of a pixel: the kernel is then exactly 1 in its middle and 0 elsewhere
    weights = (-(offsets**2) / (2 * sigmas.clamp_min(tiny)[:, None] ** 2)).exp()
    weights = weights / weights.sum(1, keepdim=True)
    for axis in (-1, -2):
        images = _filtered(images, weights, reach, axis)
    return images


def _filtered(images: torch.Tensor, weights: torch.Tensor, reach: int, axis: int) -> torch.Tensor:
    """Weighted sum over neighbours along one axis; weights N,2 reach + 1."""
    side = images.shape[axis]
    before, after = images.narrow(axis, 0, reach), images.narrow(axis, side - reach, reach)
    padded = torch.cat([before.flip(axis), images, after.flip(axis)], axis)
    total = torch.zeros_like(images)
    for step in range(2 * reach + 1):
        total.addcmul_(padded.narrow(axis, step, side), weights[:, step].view(-1, 1, 1, 1))
    return total
