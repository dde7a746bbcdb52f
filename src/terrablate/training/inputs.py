"""From stored numbers to what a network sees: float, the sensor's scale, (augmentation,) standardisation."""

from collections.abc import Sequence

import torch
from torch import nn


class Inputs(nn.Module):
    """The fixed part of the input pipeline; augmentation stands between its two steps.

    Args:
        scale: value = (stored + offset) / scale, reflectance or bytes / 255; not clipped, reflectance may exceed 1.
        offset: added before scaling.
        mean: per band, in stored numbers; None for no standardisation.
        std: per band, in stored numbers; a band that never varies keeps its scale.
    """

    def __init__(
        self, scale: float, offset: float, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.scale_by = scale
        self.offset = offset
        self.standardises = mean is not None and std is not None
        if mean is not None and std is not None:
            center = (torch.tensor(mean, dtype=torch.float64) + offset) / scale
            spread = torch.tensor(std, dtype=torch.float64) / scale
            spread = torch.where(spread > 0, spread, torch.ones_like(spread))
            self.register_buffer("center", center.float().view(-1, 1, 1))
            self.register_buffer("spread", spread.float().view(-1, 1, 1))

    def scale(self, stored: torch.Tensor) -> torch.Tensor:
        """N,C,H,W of any stored dtype to float32 on the sensor's physical scale."""
        values = stored.float()
        if self.offset:
            values = values + self.offset
        return values / self.scale_by

    def standardise(self, values: torch.Tensor) -> torch.Tensor:
        """Scaled N,C,H,W to zero mean and unit deviation per band, by the train split's statistics."""
        if not self.standardises:
            return values
        return (values - self.get_buffer("center")) / self.get_buffer("spread")

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Both steps, for evaluation: N,C,H,W as stored to what the network takes."""
        return self.standardise(self.scale(stored))
