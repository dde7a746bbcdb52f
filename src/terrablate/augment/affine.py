"""Geometry by one interpolation: matrices of affine maps, and the one place that samples images by them.

A matrix, N,3,3, takes a place of the changed image to the place of the original that is seen there, both in
coordinates from -1 to 1 over the edges of the image (x to the right, y down). A recipe's neighbouring operations are
multiplied before anything is sampled, so an image is interpolated once, not once an operation.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom


def matrices(rows: list[list[torch.Tensor | float]]) -> torch.Tensor:
    """N,3,3 from two rows of three entries, each N or a number; at least one is N."""
    size = next(entry for row in rows for entry in row if isinstance(entry, torch.Tensor))
    entries = [
        entry if isinstance(entry, torch.Tensor) else torch.full_like(size, entry)
        for entry in (*rows[0], *rows[1], 0.0, 0.0, 1.0)
    ]
    return torch.stack(entries, -1).view(-1, 3, 3)


def rotated(radians: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Turn the image counter-clockwise about its centre: N to N,3,3. Right angles agree with `torch.rot90`."""
    cosine, sine = radians.cos(), radians.sin()
    return matrices([[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]])


def translated(right: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Shift the image by these fractions of its sides: N each, to N,3,3."""
    return matrices([[1.0, 0.0, -2 * right], [0.0, 1.0, -2 * down]])


def sheared(horizontal: torch.Tensor, vertical: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Move a row of pixels by `horizontal` pixels for each pixel below the centre; `vertical` likewise for columns."""
    return matrices([[1.0, -horizontal * height / width, 0.0], [-vertical * width / height, 1.0, 0.0]])


def window(width: torch.Tensor, height: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Show a window of the image: its sides as fractions of the image's, its centre in -1 to 1; N each, to N,3,3."""
    return matrices([[width, 0.0, x], [0.0, height, y]])


def warp(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Sample images by matrices: bilinear; beyond the edges the image is mirrored, so that no black corners appear.

    Args:
        images: N,C,H,W, any range.
        matrix: N,3,3, see above.

    Returns:
        N,C,H,W; each value is a weighted mean of four of the same image and band, so it stays in their range. No
        antialiasing: meant for maps that enlarge or hardly shrink.
    """
    grid = F.affine_grid(matrix[:, :2], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
