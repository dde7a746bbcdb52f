"""Mixup: weighted means of pairs of images and of their labels."""

import torch

from terrablate.augment.draws import beta, happens


def mixup(
    images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, alpha: float = 0.2, p: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image with a partner, `w x + (1 - w) x'`, and its label alike (Zhang et al. 2018, "mixup").

    Partners come from a random permutation of the batch; w is drawn for each image on its own, from Beta(alpha, alpha).

    Args:
        images: N,C,H,W, any range.
        targets: N,K, one-hot or soft labels.
        generator: the augmentation stream, on the images' device.
        alpha: above 0; 1 makes w uniform, large values bring it to 1/2.
        p: probability for each image.

    Returns:
        Images within the range of the pair, and labels of an unchanged total.
    """
    partner = torch.randperm(len(images), device=images.device, generator=generator)
    share = torch.where(happens(images, generator, p), 1 - beta(images, generator, alpha), 0)
    return mixed_labels(images, partner, share.view(-1, 1, 1, 1)), mixed_labels(targets, partner, share.view(-1, 1))


def mixed_labels(values: torch.Tensor, partner: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """`(1 - share) v + share v'`, where v' is the partner's."""
    return torch.lerp(values, values[partner], share.to(values.dtype))
