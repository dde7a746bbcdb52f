"""Random numbers of augmentations: all from the given generator, on its device, without asking the host."""

import torch


def uniform(images: torch.Tensor, generator: torch.Generator, *size: int) -> torch.Tensor:
    """Uniform in [0, 1), of the images' type and device."""
    return torch.rand(*size, device=images.device, generator=generator, dtype=images.dtype)


def symmetric(images: torch.Tensor, generator: torch.Generator, *size: int) -> torch.Tensor:
    """Uniform in [-1, 1), of the images' type and device."""
    return 2 * uniform(images, generator, *size) - 1


def happens(images: torch.Tensor, generator: torch.Generator, p: float) -> torch.Tensor:
    """N, true with probability p for each image on its own; never for p = 0, always for p = 1."""
    return uniform(images, generator, len(images)) < p


def normal(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal numbers of the images' shape; in float32 none lies beyond 7, since the uniform draws are finite.

    The largest is `sqrt(-2 log u)` of the smallest u: 5.8 with the CPU's 24 bits, 6.7 with CUDA's 32.
    """
    return torch.randn(images.shape, device=images.device, generator=generator, dtype=images.dtype)


def beta(images: torch.Tensor, generator: torch.Generator, alpha: float) -> torch.Tensor:
    """N draws of Beta(alpha, alpha), alpha above 0.

    A ratio of two Gamma draws, each `Gamma(alpha + 1) * U^(1 / alpha)` and taken in logarithms: for small alpha
    the draws themselves underflow, and their ratio would be 1/2 where it should be 0 or 1.
    """
    shape = torch.full((2, len(images)), alpha + 1, device=images.device, dtype=images.dtype)
    gamma = torch._standard_gamma(shape, generator=generator)
    power = (1 - uniform(images, generator, 2, len(images))).log() / alpha
    first, second = gamma.log() + power
    return torch.sigmoid(first - second)


def on_host(generator: torch.Generator) -> torch.Generator:
    """A generator on the CPU, for what the host must know to go on: the generator itself if it is there.

    That of a GPU gives one that starts from its seed and its place in the stream, which the host keeps: nothing waits
    for the device. Two calls give the same numbers unless something was drawn from the generator between them.
    """
    if generator.device.type == "cpu":
        return generator
    return torch.Generator().manual_seed((generator.initial_seed() + generator.get_offset()) % 2**63)
