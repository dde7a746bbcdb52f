"""`lr_find=true`: a learning-rate range test of a run as composed, in place of its training."""

import csv
import dataclasses
import io
import sys
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from terrablate.config.identity import Hardware
from terrablate.config.schema import Config
from terrablate.data.batches import Batch
from terrablate.data.module import ChipDataModule
from terrablate.data.pack import Pack
from terrablate.training.classifier import Classifier
from terrablate.training.compilation import compilation
from terrablate.training.lr_range import RangeCurve, RangeTest, draw_range_test
from terrablate.training.record import Record
from terrablate.training.trainer import make_trainer


def find_rate(module: Classifier, pack: Pack, record: Record, config: Config, hardware: Hardware) -> RangeTest:
    """Train the first batches of a run with growing rates, write and show the curve, and throw the network away.

    Everything is as in the run (batches, augmentation, loss, regularisers, precision, clipping, accumulation) except
    that the rate grows from step to step instead of following the schedule; a part of the network that trains more
    slowly keeps its share of the rate. Without a budget: where an epoch ends before the test, the next one begins.

    `lr_find.png` and `lr_find.csv` go to the run's folder, which looks as begun or finished as before.

    Args:
        module: of the run, as it starts; it is trained.
        pack: of the run's data.
        record: of the run.
        config: of the run.
        hardware: one device.

    Raises:
        ConfigError: if the loss is no number from the start.
        KeyboardInterrupt: after Ctrl-C; nothing is written then.
    """
    curve = RangeCurve()
    data = ChipDataModule(dataclasses.replace(config, steps=None), pack)
    trainer = make_trainer(
        config,
        hardware,
        max_epochs=-1,  # the callback ends it
        callbacks=[
            *compilation(config, len(data.train_indices)),
            GrowingRate(curve, config.optim.lr),
        ],
        folder=record.folder,
    )
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    test = curve.result()
    record.write("lr_find.png", lambda file: draw_range_test(file, record.folder.name, test))
    record.write_text("lr_find.csv", _csv(test))
    sys.stdout.write(f"{sentence(test)}; the curve is {record.folder / 'lr_find.png'}\n")
    sys.stdout.flush()
    return test


def sentence(test: RangeTest) -> str:
    """The suggestion with the override that takes it over, or why there is none."""
    if test.suggestion is None:
        return "lr_find: the loss did not fall at any learning rate, so none is suggested"
    rate = f"{test.suggestion:.2g}"
    return f"lr_find: the loss fell fastest at a learning rate of {rate}; to train with it: optim.lr={rate}"


class GrowingRate(Callback):
    """Sets the rate of each optimizer step, reads its loss, and stops when the curve has ended.

    Args:
        curve: tells the rates and takes the losses.
        base_rate: `optim.lr`, of which each parameter group has its share.
    """

    def __init__(self, curve: RangeCurve, base_rate: float) -> None:
        self._curve = curve
        self._base_rate = base_rate
        self._shares: list[float] = []
        self._steps_taken = 0
        self._progress = Progress(
            TextColumn("learning-rate range test"), BarColumn(bar_width=24), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        )  # fmt: skip

    def on_train_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Take the shares, which a schedule may have scaled already."""
        groups = trainer.optimizers[0].param_groups
        self._shares = [group.get("initial_lr", group["lr"]) / self._base_rate for group in groups]
        self._progress.start()
        self._task = self._progress.add_task("", total=self._curve.steps, rate="")

    def on_train_batch_start(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", batch: Batch, batch_idx: int
    ) -> None:
        """Set the rate of the step to which the batch belongs."""
        for group, share in zip(trainer.optimizers[0].param_groups, self._shares, strict=True):
            group["lr"] = self._curve.rate * share

    def on_train_batch_end(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Take the loss of a step that is complete, which may have several batches."""
        assert isinstance(pl_module, Classifier)
        if trainer.global_step == self._steps_taken:
            return
        self._steps_taken = trainer.global_step
        self._progress.update(self._task, advance=1, rate=f"{self._curve.rate:.1e}")
        self._curve.add(pl_module.read_objective())
        trainer.should_stop = self._curve.ended

    def on_train_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Close the bar."""
        self._progress.stop()

    def on_exception(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", exception: BaseException
    ) -> None:
        """Close the bar, also after Ctrl-C."""
        self._progress.stop()


def _csv(test: RangeTest) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["lr", "loss", "smoothed"])
    writer.writerows(zip(test.rates, test.losses, test.smoothed, strict=True))
    return buffer.getvalue()
