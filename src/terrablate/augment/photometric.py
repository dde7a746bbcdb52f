"""Formulas of light, air and colour on the sensor's scale, with the parameters given: nothing is drawn here."""

from collections.abc import Sequence

import torch


def contrast(images: torch.Tensor, stretch: torch.Tensor) -> torch.Tensor:
    """`x + k (x - m)` with m the mean of each image's band: N,C,H,W, and k as N,1,1,1."""
    changed = images - images.mean(dim=(-2, -1), keepdim=True)
    changed *= stretch
    changed += images
    return changed


def gamma(images: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """`m (x / m)^exponent` where x is above 0, with m the mean of that part of the image's band; x elsewhere.

    Measured by m, the level of a band stays, whatever the unit: the plain power that is usual on [0, 1] would
    darken Sentinel-2's reflectances of about 0.1 by a third where it changes a photograph little. Values up to M
    become at most `M (M / m)^max(exponent - 1, 0)`, and never change their sign.

    Args:
        images: N,C,H,W.
        exponent: N,1,1,1, above 0.
    """
    tiny = torch.finfo(images.dtype).tiny
    changed = images.clamp_min(0)
    level = changed.mean(dim=(-2, -1), keepdim=True).clamp_min(tiny)
    changed.clamp_min_(tiny).log_()
    changed *= exponent
    changed += (1 - exponent) * level.log()
    changed.exp_()
    return torch.where(images > 0, changed, images, out=changed)


def saturation_and_hue(
    images: torch.Tensor, rgb: Sequence[int], saturation: torch.Tensor, turn: torch.Tensor
) -> torch.Tensor:
    """Stretch colours away from grey by `saturation`, and rotate them about grey by `turn` full turns.

    Grey is the mean of red, green and blue. The rotation is that of RGB space about its diagonal: a third of a turn
    moves red to green, green to blue and blue to red. Both are linear, so reflectance above 1 is no special case, as
    it is in HSV. A pixel keeps its mean; its distance from grey is multiplied by `saturation`.

    Args:
        images: N,C,H,W.
        rgb: positions of red, green and blue among the bands.
        saturation: N, 1 leaves it as it is.
        turn: N, fractions of a full turn.
    """
    count, _, height, width = images.shape
    angle = (2 * torch.pi * turn).view(-1, 1, 1)
    identity = torch.eye(3, device=images.device, dtype=images.dtype)
    grey = torch.full_like(identity, 1 / 3)
    next_color = identity.roll(1, 0)  # green from red, blue from green, red from blue
    around = (next_color - next_color.mT) / 3**0.5
    rotation = grey + angle.cos() * (identity - grey) + angle.sin() * around
    matrix = grey + saturation.view(-1, 1, 1) * (rotation - grey)
    colors = torch.stack([images[:, position] for position in rgb], 1).flatten(2)
    mixed = (matrix @ colors).view(count, 3, height, width)
    bands = list(images.unbind(1))
    for color, position in enumerate(rgb):
        bands[position] = mixed[:, color]
    return torch.stack(bands, 1)
