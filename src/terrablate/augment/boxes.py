"""Rectangles of random area and shape, for crops, erasing and cutting."""

import math
from collections.abc import Sequence

import torch

from terrablate.augment.draws import uniform


def random_sides(
    images: torch.Tensor, generator: torch.Generator, area: Sequence[float], ratio: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and height of one rectangle an image, as fractions of the image's sides, N each.

    The area is uniform, the ratio of width to height log-uniform, as in Szegedy et al. 2015. Where they throw away
    rectangles that do not fit and draw again, the ratio is drawn among those that fit: nothing is repeated, and the
    area stays uniform, which their way shifts to smaller ones. A range of ratios of which none fits is taken at the
    one that just fits.

    Args:
        images: N,C,H,W; only its shape and device matter.
        generator: the augmentation stream, on the images' device.
        area: smallest and largest fraction of the image's area, above 0 to 1.
        ratio: smallest and largest ratio of the sides, in units of the image's own.
    """
    draws = uniform(images, generator, 2, len(images))
    areas = area[0] + (area[1] - area[0]) * draws[0]
    limit = areas.log().neg()  # sides fit if area <= ratio <= 1 / area
    low = torch.minimum(limit, (-limit).clamp_min(math.log(ratio[0])))
    high = torch.maximum(-limit, limit.clamp_max(math.log(ratio[1])))
    half = (low + (high - low) * draws[1]) / 2
    root = areas.sqrt()
    return (root * half.exp()).clamp_max(1), (root / half.exp()).clamp_max(1)


def mask(
    top: torch.Tensor, bottom: torch.Tensor, left: torch.Tensor, right: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """N,1,H,W, true within the rectangles: first row and column included, last ones not; N each, in pixels."""
    rows = torch.arange(height, device=top.device)
    columns = torch.arange(width, device=top.device)
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
