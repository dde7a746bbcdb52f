"""Mirroring, per sample."""

import torch

from terrablate.augment.moves import in_view


def flip(
    images: torch.Tensor, generator: torch.Generator, horizontal: float = 0.5, vertical: float = 0.5
) -> torch.Tensor:
    """Mirror each image left-right and top-bottom with a probability of its own draw.

    Args:
        images: N,C,H,W, any range.
        generator: the augmentation stream, on the images' device.
        horizontal: probability of mirroring left-right.
        vertical: probability of mirroring top-bottom.

    Returns:
        N,C,H,W; values are moved, never changed.
    """
    draws = torch.rand(2, len(images), 1, 1, 1, device=images.device, generator=generator)
    mirrored = (draws[0] < horizontal).long() + 2 * (draws[1] < vertical).long()
    return in_view(images, _mirrors, mirrored.flatten())


def _mirrors(images: torch.Tensor) -> list[torch.Tensor]:
    return [images, images.flip(-1), images.flip(-2), images.flip(-1, -2)]
