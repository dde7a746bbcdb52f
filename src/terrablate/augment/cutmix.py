"""CutMix: a rectangle of one image pasted into another, labels by area."""

import torch

from terrablate.augment.boxes import mask
from terrablate.augment.draws import beta, happens, uniform
from terrablate.augment.mixup import mixed_labels


def cutmix(
    images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, alpha: float = 1.0, p: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of a partner into each image, and mix labels by area (Yun et al. 2019, "CutMix").

    Partners come from a random permutation of the batch. The rectangle has the image's proportions and the area
    1 - w, w from Beta(alpha, alpha) for each image on its own; its centre is uniform, and what lies beyond the edges
    is cut off. The labels follow the pixels that were really pasted.

    Args:
        images: N,C,H,W, any range.
        targets: N,K, one-hot or soft labels.
        generator: the augmentation stream, on the images' device.
        alpha: above 0; 1 makes the area uniform.
        p: probability for each image.

    Returns:
        Images whose values are those of the pair, and labels of an unchanged total.
    """
    height, width = images.shape[-2:]
    partner = torch.randperm(len(images), device=images.device, generator=generator)
    area = torch.where(happens(images, generator, p), 1 - beta(images, generator, alpha), 0)
    down, across = (area.sqrt() * height).round(), (area.sqrt() * width).round()
    center = uniform(images, generator, 2, len(images))
    top, left = (center[0] * height - down / 2).round(), (center[1] * width - across / 2).round()
    pasted = mask(top, top + down, left, left + across, height, width)
    share = pasted.to(images.dtype).mean((-3, -2, -1))
    return torch.where(pasted, images[partner], images), mixed_labels(targets, partner, share.view(-1, 1))
