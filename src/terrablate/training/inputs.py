"""From stored numbers to what a network sees: float, the sensor's scale, (augmentation,) standardisation."""

from collections.abc import Sequence

import torch
from torch import nn


class Inputs(nn.Module):
    """The fixed part of the input pipeline; augmentation stands between its two steps.

    Args:
        scale: value = (stored + offset) / scale, reflectance or bytes / 255; not clipped, reflectance may exceed 1.
        offset: added before scaling.
        center: per band, in stored numbers: becomes 0. None for no standardisation.
        spread: per band, in stored numbers: becomes 1; a band whose spread is 0 keeps its scale.
    """

    def __init__(
        self, scale: float, offset: float, center: Sequence[float] | None = None, spread: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.scale_by = scale
        self.offset = offset
        self.standardises = center is not None and spread is not None
        if center is not None and spread is not None:
            middle = (torch.tensor(center, dtype=torch.float64) + offset) / scale
            width = torch.tensor(spread, dtype=torch.float64) / scale
            width = torch.where(width > 0, width, torch.ones_like(width))
            self.register_buffer("center", middle.float().view(-1, 1, 1))
            self.register_buffer("spread", width.float().view(-1, 1, 1))

    def scale(self, stored: torch.Tensor) -> torch.Tensor:
        """N,C,H,W of any stored dtype to float32 on the sensor's physical scale."""
        if stored.dtype == torch.float32:  # not a copy yet, and what is stored stays as it is
            return (stored + self.offset if self.offset else stored) / self.scale_by
        values = stored.float()  # in place from here: on the CPU, memory that is new costs more than the arithmetic
        if self.offset:
            values.add_(self.offset)
        return values.div_(self.scale_by)

    def standardise(self, values: torch.Tensor) -> torch.Tensor:
        """Scaled N,C,H,W to (values - center) / spread, per band."""
        if not self.standardises:
            return values
        return (values - self.get_buffer("center")).div_(self.get_buffer("spread"))

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Both steps, for evaluation: N,C,H,W as stored to what the network takes."""
        values = self.scale(stored)
        return values.sub_(self.get_buffer("center")).div_(self.get_buffer("spread")) if self.standardises else values
