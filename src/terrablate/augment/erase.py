"""Random erasing, per sample."""

from collections.abc import Sequence
from typing import Literal

import torch

from terrablate.augment.boxes import mask, random_sides
from terrablate.augment.draws import happens, normal, uniform


def erase(
    images: torch.Tensor,
    generator: torch.Generator,
    spread: torch.Tensor,
    p: float = 0.5,
    area: Sequence[float] = (0.02, 0.33),
    ratio: Sequence[float] = (0.3, 3.3),
    fill: Literal["mean", "noise"] = "mean",
) -> torch.Tensor:
    """With probability p, fill a rectangle of the image (Zhong et al. 2020, "Random erasing data augmentation").

    Args:
        images: N,C,H,W on the sensor's scale, before standardisation.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.
        p: probability for each image.
        area: smallest and largest fraction of the image's area; sides are rounded to whole pixels, at least one.
        ratio: smallest and largest ratio of width to height.
        fill: `mean`, the mean of each of the image's bands; `noise`, Gaussian about it with the band's `spread`.

    Returns:
        N,C,H,W; with `mean` within the range of each image's band, with `noise` within 7 spread of its mean.
    """
    height, width = images.shape[-2:]
    happening = happens(images, generator, p)
    across, down = random_sides(images, generator, area, ratio)
    across, down = (across * width).round().clamp_min(1), (down * height).round().clamp_min(1)
    place = uniform(images, generator, 2, len(images))
    left = (place[0] * (width - across + 1)).floor()
    top = (place[1] * (height - down + 1)).floor()
    bottom = torch.where(happening, top + down, top)
    filling = images.mean(dim=(-2, -1), keepdim=True)
    if fill == "noise":
        filling = filling + normal(images, generator) * spread.view(-1, 1, 1)
    return torch.where(mask(top, bottom, left, left + across, height, width), filling, images)
