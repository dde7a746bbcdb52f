"""Sensor jitter, per pixel."""

import torch

from terrablate.augment.draws import normal, uniform


def noise(
    images: torch.Tensor,
    generator: torch.Generator,
    spread: torch.Tensor,
    sigma: float = 0.1,
    random_sigma: bool = True,
) -> torch.Tensor:
    """Add independent Gaussian noise to every pixel of every band (Bishop 1995, "Training with noise").

    Args:
        images: N,C,H,W on the sensor's scale, before standardisation.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.
        sigma: deviation of the noise in units of `spread`.
        random_sigma: whether each image has a deviation of its own, uniform from 0 to sigma.

    Returns:
        N,C,H,W; no value moves by more than 7 sigma spread (see `draws.normal`).
    """
    scale = sigma * spread.view(-1, 1, 1)
    if random_sigma:
        scale = scale * uniform(images, generator, len(images), 1, 1, 1)
    return noisy(images, generator, scale)


def noisy(images: torch.Tensor, generator: torch.Generator, scale: torch.Tensor) -> torch.Tensor:
    """Add Gaussian noise of a given deviation: N,C,H,W, and `scale` as N or 1,C,1,1, on the scale of the images."""
    added = normal(images, generator)
    added *= scale
    added += images
    return added
