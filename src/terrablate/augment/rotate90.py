"""The eight symmetries of the square, per sample."""

import torch

from terrablate.augment.draws import happens
from terrablate.augment.moves import in_view
from terrablate.errors import DataError


def rotate90(images: torch.Tensor, generator: torch.Generator, p: float = 1.0) -> torch.Tensor:
    """With probability p, show each image in one of the square's eight symmetries, all equally likely.

    The identity is one of the eight. Seen from above most scenes have no preferred direction; unlike a free rotation,
    nothing is interpolated (the dihedral group D4, as in Cohen and Welling 2016, "Group equivariant networks").

    Args:
        images: N,C,H,W with H = W, any range.
        generator: the augmentation stream, on the images' device.
        p: probability of a draw from the eight; otherwise the image stays.

    Returns:
        N,C,H,W; values are moved, never changed.

    Raises:
        DataError: if the images are not square.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise DataError(f"images of {height} x {width} pixels: rotate90 needs squares; set data.image_size")
    which = torch.randint(8, (len(images),), device=images.device, generator=generator)
    return in_view(images, symmetries, torch.where(happens(images, generator, p), which, 0))


def symmetries(images: torch.Tensor) -> list[torch.Tensor]:
    """The eight views of N,C,H,H: four quarter turns counter-clockwise, then the four of the mirrored image."""
    mirrored = images.flip(-1)
    turned = [torch.rot90(images, quarter, (-2, -1)) for quarter in range(4)]
    return turned + [torch.rot90(mirrored, quarter, (-2, -1)) for quarter in range(4)]
