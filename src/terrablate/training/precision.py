"""Lightning's precisions, which call around a backward pass only what our runs have there."""

from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.plugins import MixedPrecision, Precision


class FullPrecision(Precision):
    """float32. Of the hooks between a loss and the optimizer's step two are called, of the module only."""

    def pre_backward(self, tensor: torch.Tensor, module: "lightning.LightningModule") -> torch.Tensor:  # type: ignore[override]
        """Nothing."""
        return tensor

    def post_backward(self, tensor: torch.Tensor, module: "lightning.LightningModule") -> torch.Tensor:  # type: ignore[override]
        """The loss without its graph."""
        return tensor.detach()

    def _after_closure(self, model: "lightning.LightningModule", optimizer: Any) -> None:
        model.on_before_optimizer_step(optimizer)
        model.configure_gradient_clipping(optimizer, model.trainer.gradient_clip_val)


class HalfPrecision(MixedPrecision, FullPrecision):
    """Autocast to bf16, or to fp16 with a scaled loss; see `torch.autocast`."""


def precision_of(bits: Literal["32", "bf16", "16"], accelerator: str) -> Precision:
    """What the Trainer is given for the precision of a run."""
    if bits == "32":
        return FullPrecision()
    return HalfPrecision("16-mixed" if bits == "16" else "bf16-mixed", accelerator)
