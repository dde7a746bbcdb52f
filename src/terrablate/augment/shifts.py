"""Graded shifts of val, for robustness curves: each moves all images by the same amount, in directions of their own.

After Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions",
https://arxiv.org/abs/1903.12261, with changes that Earth observation knows, for any number of bands, and with as many
severities as one likes.

Where an augmentation draws how far it goes, a shift is told: at severity 0.4 every image is turned by 18 degrees, some
to the left and some to the right. Directions and noise come from the generator alone. A generator that is seeded alike
for each severity gives an image the same direction at all of them, so a curve shows the amount and not the draw.

Rotation, translation and scale interpolate between pixels, which smooths a little at every amount but 0, and mirror the
image at its edges. Turns by right angles and mirrorings move whole pixels and stay within the square; they are no
shifts of this kind, and a network that was trained on them (`aug=rotate90`) has not seen the angles between.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from terrablate.augment import affine
from terrablate.augment.blur import blurred

type Name = Literal["rotation", "translation", "scale", "brightness", "band_gain", "haze", "noise", "blur"]


@dataclass(frozen=True)
class Shift:
    """One way in which images may differ from those of the training."""

    name: Name
    strongest: float
    """The amount at severity 1."""
    unit: str
    """Of the amount."""
    meaning: str
    """What is done to an image, in a few words."""
    neutral: float = 0.0
    """The amount at severity 0, which changes nothing."""

    def amount(self, severity: float) -> float:
        """The amount at a severity from 0 to 1, in the shift's unit; it grows in proportion."""
        return self.neutral + severity * (self.strongest - self.neutral)


SHIFTS: Sequence[Shift] = (
    Shift("rotation", 45.0, "degrees", "turned to the left or to the right"),
    Shift("translation", 25.0, "% of the side", "moved in any direction"),
    Shift("scale", 2.0, "factor", "objects larger or smaller by a factor", neutral=1.0),
    Shift("brightness", 50.0, "± %", "all bands brighter or darker by a factor"),
    Shift("band_gain", 25.0, "deviation between bands, %", "each band brighter or darker on its own"),
    Shift("haze", 1.0, "band deviations", "a constant added or taken away"),
    Shift("noise", 0.5, "band deviations", "Gaussian noise added to each pixel"),
    Shift("blur", 2.0, "pixels", "smoothed by a Gaussian"),
)
"""All shifts of a robustness evaluation; band deviations are those of the train split, each band's its own."""


def shifted(
    shift: Shift, images: torch.Tensor, severity: float, generator: torch.Generator, spread: torch.Tensor
) -> torch.Tensor:
    """Shift all images by the amount of a severity.

    Args:
        shift: which.
        images: N,C,H,W on the sensor's scale, before standardisation; on any device.
        severity: 0 to 1; 0 gives the images themselves.
        generator: for directions and noise; on the CPU, so that all devices see the same images.
        spread: C, deviation of each band in the training data, on the scale of the images.

    Returns:
        N,C,H,W, not clipped.

    Raises:
        ValueError: if the severity lies outside 0 to 1.
    """
    if not 0 <= severity <= 1:
        raise ValueError(f"severity {severity}: must lie in 0 to 1")
    if severity == 0:
        return images
    amount, unit = shift.amount(severity), spread.to(images).view(-1, 1, 1)
    match shift.name:
        case "rotation":
            return rotate(images, amount, generator)
        case "translation":
            return translate(images, amount / 100, generator)
        case "scale":
            return scale(images, amount, generator)
        case "brightness":
            return brighten(images, amount / 100, generator)
        case "band_gain":
            return regain(images, amount / 100, generator)
        case "haze":
            return images + _signs(images, generator).view(-1, 1, 1, 1) * amount * unit
        case "noise":
            return images + torch.randn(images.shape, generator=generator).to(images) * amount * unit
        case "blur":
            return blurred(images, images.new_full((len(images),), amount), amount)


def rotate(images: torch.Tensor, degrees: float, generator: torch.Generator) -> torch.Tensor:
    """Turn each image about its centre by this angle, to the left or to the right."""
    radians = _signs(images, generator) * math.radians(degrees)
    return affine.warp(images, affine.rotated(radians, *images.shape[-2:]))


def translate(images: torch.Tensor, fraction: float, generator: torch.Generator) -> torch.Tensor:
    """Move each image by this fraction of its side, in any direction."""
    direction = (2 * torch.pi * torch.rand(len(images), generator=generator)).to(images)
    return affine.warp(images, affine.translated(direction.cos() * fraction, direction.sin() * fraction))


def scale(images: torch.Tensor, factor: float, generator: torch.Generator) -> torch.Tensor:
    """Make the objects of each image larger or smaller by this factor, 1 or more, as other pixel sizes do.

    Images whose objects become smaller are smoothed first, since sampling alone would alias: by a Gaussian of variance
    (factor^2 - 1) / 6, which with the interpolation's own (1 / 6) has the variance of the triangle that an antialiased
    resize takes.
    """
    becomes_larger = _signs(images, generator) > 0
    smoothing = math.sqrt((factor**2 - 1) / 6)
    images = blurred(images, torch.where(becomes_larger, 0.0, smoothing).to(images), smoothing)
    side = torch.where(becomes_larger, 1 / factor, factor).to(images)
    middle = torch.zeros_like(side)
    return affine.warp(images, affine.window(side, side, middle, middle))


def brighten(images: torch.Tensor, fraction: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply each image by 1 + fraction or by 1 - fraction."""
    return images * (1 + _signs(images, generator).view(-1, 1, 1, 1) * fraction)


def regain(images: torch.Tensor, fraction: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply each band of each image by a factor of its own.

    Over the bands of an image the factors have mean 1, since a common one would be brightness, and the deviation
    `fraction`, the same for all images. A single band has no gain apart from the others: there this is brightness.
    """
    count, bands = images.shape[:2]
    if bands == 1:
        return brighten(images, fraction, generator)
    pattern = 2 * torch.rand(count, bands, generator=generator) - 1
    pattern = pattern - pattern.mean(1, keepdim=True)
    pattern = pattern / pattern.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(pattern.dtype).tiny)
    return images * (1 + pattern.to(images).view(count, bands, 1, 1) * fraction)


def _signs(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """N, +1 or -1 for each image."""
    return (2 * torch.randint(2, (len(images),), generator=generator) - 1).to(images)
