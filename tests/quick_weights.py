"""Random initial weights of large networks in a tenth of the time, for tests that need some and not exactly these."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

BLOCK = 65_537
"""Numbers that are drawn; longer than a filter, and a prime, so that no filter is another's copy."""


def quick_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let large tensors repeat one block of the numbers that they would be filled with: half of VGG's time is these."""
    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, _repeated(getattr(torch.Tensor, name)))


def _repeated(fill: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def filled(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if tensor.numel() <= BLOCK or tensor.is_meta or not tensor.is_contiguous():
            return fill(tensor, *arguments, **options)
        block, flat = fill(tensor.new_empty(BLOCK), *arguments, **options), tensor.view(-1)
        whole = len(flat) // BLOCK * BLOCK
        flat[:whole].view(-1, BLOCK).copy_(block)
        flat[whole:] = block[: len(flat) - whole]
        return tensor

    return filled
