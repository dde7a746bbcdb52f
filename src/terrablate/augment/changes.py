"""The changes that RandAugment and TrivialAugment choose from, each as a function of one level an image."""

import math
from collections.abc import Sequence

import torch

from terrablate.augment import affine, photometric
from terrablate.augment.blur import blurred
from terrablate.augment.draws import on_host, symmetric
from terrablate.augment.noise import noisy
from terrablate.config.schema.augment import Change

DEGREES, SHEAR, SHIFT = 30.0, 0.3, 0.3
GAIN, CONTRAST, EXPONENT, BAND_GAIN = 0.5, 0.5, 0.5, 0.3
HAZE, NOISE, BLUR = 1.0, 0.5, 2.0
"""What each change does at level 1: an angle, pixels a pixel, a fraction of the side; distances of a factor or an
exponent from 1; units of the bands' spread, and pixels."""


def changed(
    change: Change,
    images: torch.Tensor,
    level: torch.Tensor,
    largest: float,
    generator: torch.Generator,
    spread: torch.Tensor,
) -> torch.Tensor:
    """Apply one change to all images, to each at its level.

    Args:
        change: which.
        images: N,C,H,W on the sensor's scale, before standardisation.
        level: N, strength and direction, in +- `largest`; noise and blur have no direction. The gains of single bands
            are drawn anew within the level.
        largest: below 2, so that factors and exponents stay above 0.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.

    Returns:
        N,C,H,W; bounds are those of the operations of the same names, at the widths above times `largest`.
    """
    height, width = images.shape[-2:]
    none, factor = torch.zeros_like(level), level.view(-1, 1, 1, 1)
    match change:
        case "identity":
            return images
        case "rotate":
            return affine.warp(images, affine.rotated(level * math.radians(DEGREES), height, width))
        case "shear_x":
            return affine.warp(images, affine.sheared(level * SHEAR, none, height, width))
        case "shear_y":
            return affine.warp(images, affine.sheared(none, level * SHEAR, height, width))
        case "translate_x":
            return affine.warp(images, affine.translated(level * SHIFT, none))
        case "translate_y":
            return affine.warp(images, affine.translated(none, level * SHIFT))
        case "brightness":
            return images * (1 + factor * GAIN)
        case "contrast":
            return photometric.contrast(images, factor * CONTRAST)
        case "gamma":
            return photometric.gamma(images, 1 + factor * EXPONENT)
        case "haze":
            return images + factor * HAZE * spread.view(-1, 1, 1)
        case "band_gain":
            return images * (1 + symmetric(images, generator, *images.shape[:2], 1, 1) * factor * BAND_GAIN)
        case "noise":
            return noisy(images, generator, factor.abs() * NOISE * spread.view(-1, 1, 1))
        case "blur":
            return blurred(images, level.abs() * BLUR, largest * BLUR)


def change_each(
    images: torch.Tensor,
    level: torch.Tensor,
    largest: float,
    generator: torch.Generator,
    spread: torch.Tensor,
    changes: Sequence[Change],
) -> torch.Tensor:
    """Apply to each image one of the changes, all equally likely; arguments as of `changed`.

    Each change sees only the images that drew it; else every change would have to be computed for every image. Which
    one they draw is decided on the host, which has to know how many they are.
    """
    which = torch.randint(len(changes), (len(images),), generator=on_host(generator))
    counts = which.bincount(minlength=len(changes)).tolist()
    order = which.argsort(stable=True).to(images.device, non_blocking=True)
    parts = [
        changed(change, part, part_level, largest, generator, spread)
        for change, part, part_level in zip(
            changes, torch.split(images[order], counts), torch.split(level[order], counts), strict=True
        )
        if len(part)
    ]
    return torch.cat(parts)[order.argsort()]
