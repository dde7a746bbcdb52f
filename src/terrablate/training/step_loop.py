"""Lightning's loop over the batches of an epoch, of which a step does only what our runs need."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.exceptions import SIGTERMException

from terrablate.data.batches import Batch

_BATCHES_BETWEEN_AGREEMENTS = 16
"""On GPUs, which have to be waited for then."""


class StepLoop(_TrainingEpochLoop):
    """Takes a step as Lightning's own loop does, at less than half of what that takes beside the step itself.

    Module and callbacks are called at the start and the end of a batch, the module also before the optimizer's step and
    for clipping, in Lightning's order; precision, DDP, accumulation and the counters of checkpoints are Lightning's.
    Left out is what no run of ours has: hooks around a batch's transfer, `zero_grad` and the backward pass, `self.log`,
    loaders that are iterated by the module, validation and schedules by the epoch within the loop, steps that return
    nothing, and the search for all these in each step.

    The loss is not divided by the accumulated batches: `training_step` gives each its share.

    SIGTERM ends training after the batch. Several processes agree on that after each batch, on GPUs after every 16
    batches, and at the end of each epoch; all end at the same place, whichever of them got the signal.
    """

    _at_start: Sequence[Callable[..., Any]] = ()
    _at_end: Sequence[Callable[..., Any]] = ()

    def on_run_start(self, data_fetcher: Any) -> None:
        """Look up once what callbacks do in a step."""
        super().on_run_start(data_fetcher)
        callbacks = self.trainer.callbacks
        self._at_start = _overridden("on_train_batch_start", callbacks)
        self._at_end = _overridden("on_train_batch_end", callbacks)

    def advance(self, data_fetcher: Any) -> None:
        """One batch."""
        trainer, progress = self.trainer, self.batch_progress
        module = trainer.lightning_module
        batch, _, _ = next(data_fetcher)
        progress.is_last_batch = data_fetcher.done
        index = progress.current.ready
        batch = trainer.datamodule.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        progress.increment_ready()
        for start in self._at_start:
            start(trainer, module, batch, index)
        module.on_train_batch_start(batch, index)
        progress.increment_started()
        accumulates = self._should_accumulate()
        self._learn(batch, index, accumulates=accumulates)
        progress.increment_processed()
        if not accumulates:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
        for end in self._at_end:
            end(trainer, module, None, batch, index)
        module.on_train_batch_end(None, batch, index)
        progress.increment_completed()
        if not accumulates:
            self._batches_that_stepped += 1

    def _learn(self, batch: Batch, index: int, *, accumulates: bool) -> None:
        """Gradients of a batch, and the optimizer's step where the batch is its last."""
        trainer, progress = self.trainer, self.automatic_optimization.optim_progress.optimizer
        strategy, optimizer = trainer.strategy, trainer.optimizers[0]

        def gradients() -> torch.Tensor:
            with torch.enable_grad():
                loss = strategy.training_step(batch, index)
                if index % trainer.accumulate_grad_batches == 0:
                    progress.zero_grad.increment_ready()
                    progress.zero_grad.increment_started()
                    optimizer.zero_grad()
                    progress.zero_grad.increment_completed()
                strategy.backward(loss, optimizer)
            return loss.detach()

        if accumulates:
            with _unsynchronised(trainer):
                gradients()
            return
        progress.step.increment_ready()
        strategy.optimizer_step(optimizer, gradients)
        progress.step.increment_completed()

    def on_advance_end(self, data_fetcher: Any) -> None:
        """End after SIGTERM; after the last batch of an epoch Lightning does, when the epoch was evaluated and saved.

        Raises:
            SIGTERMException: if training is to end.
        """
        is_last = self._is_training_done
        if self.trainer.world_size > 1 and (is_last or self._agree_now()):
            self.trainer._signal_connector.agree()
        if self.trainer.received_sigterm and not is_last:
            raise SIGTERMException

    def _agree_now(self) -> bool:
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        return (self.batch_idx + 1) % (1 if on_cpu else _BATCHES_BETWEEN_AGREEMENTS) == 0


def _overridden(name: str, callbacks: Sequence[Callback]) -> list[Callable[..., Any]]:
    return [getattr(each, name) for each in callbacks if getattr(type(each), name) is not getattr(Callback, name)]


def _unsynchronised(trainer: "lightning.Trainer") -> AbstractContextManager[Any]:
    """Gradients of this process only, where there are several."""
    model = trainer.strategy.model
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        return model.no_sync()
    return nullcontext()
