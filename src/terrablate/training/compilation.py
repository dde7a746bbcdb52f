"""`trainer.compile`: training steps through torch.compile, everything else by the plain network."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from terrablate.config.schema import Config
from terrablate.data.batches import Batch
from terrablate.training.classifier import Classifier


class Compilation(Callback):
    """Compiles the network in place, for whole batches of training; names in its state dict stay.

    Compiled code belongs to one shape: a smaller last batch is computed by the plain network, as are evaluations, so
    that what is reported of the weights is what any later evaluation of them gives. `reduce-overhead` replays the
    kernels of a step as CUDA graphs, which saves their launches; the graphs hold memory of their own. Results differ by
    rounding, and where there is dropout by its masks: compiled code draws others from the same seed of each step.

    Torch's compiler is imported and set up here, and left as it was found: a worker may train other networks next.

    Args:
        mode: of torch.compile.
        batch_size: images of a whole batch.
    """

    def __init__(self, mode: str, batch_size: int) -> None:
        self._mode = mode
        self._batch_size = batch_size
        self._network: nn.Module | None = None

    def on_train_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Compile when the first batch comes."""
        assert isinstance(pl_module, Classifier)
        torch.compiler.reset()  # what was compiled before would count against the limit of versions
        self._network = pl_module.network
        self._network.compile(mode=self._mode, dynamic=False)
        torch.compiler.set_stance("force_eager")

    def on_train_batch_start(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", batch: Batch, batch_idx: int
    ) -> None:
        """Compiled code for whole batches."""
        if len(batch["image"]) == self._batch_size:
            torch.compiler.set_stance("default")

    def on_train_batch_end(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """The plain network for all that is no training step."""
        torch.compiler.set_stance("force_eager")

    def on_train_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Leave the network and the compiler as they were."""
        self._restore()

    def on_exception(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", exception: BaseException
    ) -> None:
        """The same after a failure, or Ctrl-C."""
        self._restore()

    def _restore(self) -> None:
        if self._network is None:
            return
        self._network._compiled_call_impl = None  # torch has no public way back from Module.compile
        self._network = None
        torch.compiler.set_stance("default")
        torch.compiler.reset()


def compilation(config: Config, images: int) -> list[Callback]:
    """The callback that a config asks for, if any.

    Args:
        config: of the run.
        images: that are trained on; one batch of them all may be smaller than `batch_size`.
    """
    mode = config.trainer.compile
    return [] if mode is None else [Compilation(mode, min(config.batch_size, images))]
