"""Images, spreads and random streams for tests of augmentations."""

import torch

BANDS = [1, 3, 4, 13]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(count: int, bands: int, side: int = 6) -> torch.Tensor:
    """Uniform in 0 to 2: reflectance may exceed 1."""
    return torch.rand(count, bands, side, side, generator=generator(99)) * 2


def spread_of(bands: int) -> torch.Tensor:
    return torch.linspace(0.01, 0.5, bands)


def smooth_images(count: int, bands: int, side: int) -> torch.Tensor:
    """Waves long enough that bilinear interpolation between pixels errs little."""
    place = torch.arange(side) / side
    phase = torch.rand(count, bands, 2, 1, generator=generator(7)) * 6.3
    rows, columns = ((2 * torch.pi * place + phase[:, :, axis]).sin() for axis in range(2))
    return 1 + 0.4 * rows[:, :, :, None] + 0.4 * columns[:, :, None, :]


def each_differs(images: torch.Tensor) -> bool:
    """Whether no two of the images are alike."""
    return len({tuple(image.flatten().tolist()) for image in images}) == len(images)
