"""Where the time of training goes: torch's profiler over a few steps, as a table in the record."""

import logging
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile

from terrablate.data.batches import Batch
from terrablate.training.record import Record

logger = logging.getLogger(__name__)

_ROWS = 40
_SHOWN = 5


class OperationProfile(Callback):
    """Measures some steps and writes `profile.txt`: operations by the time that they take themselves.

    The first step is passed over where others follow, since memory and kernels are set up in it. Between steps the
    next batch is made, which counts; evaluations do not: at the latest it ends with the epoch in which it began.

    Args:
        record: of the run.
        steps: batches to measure.
    """

    def __init__(self, record: Record, steps: int) -> None:
        self._record = record
        self._steps = steps
        self._profile: Any = None
        self._batches = 0
        self._measured = 0
        self._began = 0.0
        self._seconds = 0.0

    def on_train_batch_start(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", batch: Batch, batch_idx: int
    ) -> None:
        """Begin with the second batch, or with the only one."""
        only = trainer.num_training_batches == 1 and trainer.current_epoch + 1 == trainer.max_epochs
        if self._profile is None and (self._batches or only):
            on_gpu = pl_module.device.type == "cuda"
            self._profile = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])
            self._profile.start()
            self._began = time.monotonic()
        self._batches += 1

    def on_train_batch_end(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count, and end where enough were measured."""
        if self._began == 0.0:
            return
        self._measured += 1
        if self._measured == self._steps:
            self._stop(pl_module.device)

    def on_train_epoch_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """End before the evaluation, which is no training."""
        self._stop(pl_module.device)

    def on_train_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Write the table and say what stands at its top."""
        if self._profile is None:
            return
        operations = self._profile.key_averages()
        on_gpu = pl_module.device.type == "cuda"
        attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        table = operations.table(sort_by=attribute, row_limit=_ROWS, max_name_column_width=60)
        self._record.write_text("profile.txt", f"{self._measured} training steps on {pl_module.device}\n{table}\n")
        costliest = sorted(operations, key=lambda each: getattr(each, attribute), reverse=True)
        whole = sum(getattr(each, attribute) for each in costliest) or 1.0
        shown = ", ".join(f"{each.key} {getattr(each, attribute) / whole:.0%}" for each in costliest[:_SHOWN])
        logger.info(
            "profile of %d steps, %.1f ms each: %s; all in %s",
            self._measured, 1e3 * self._seconds / max(self._measured, 1), shown, self._record.folder / "profile.txt",
        )  # fmt: skip

    def on_exception(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", exception: BaseException
    ) -> None:
        """Leave no profiler behind."""
        self._stop(pl_module.device)

    def _stop(self, device: torch.device) -> None:
        if self._began == 0.0:
            return
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._seconds, self._began = time.monotonic() - self._began, 0.0
        self._profile.stop()
