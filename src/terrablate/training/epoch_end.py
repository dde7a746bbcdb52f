"""What happens when an epoch ends, in one fixed order: evaluate, judge, log, save; resuming rests on it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from terrablate.config.schema import Config
from terrablate.data.batches import Batch
from terrablate.data.module import ChipDataModule
from terrablate.models.pruning.cuts import with_cuts
from terrablate.training.classifier import Classifier
from terrablate.training.history import History
from terrablate.training.loggers import CurveLogger
from terrablate.training.record import Record, Row
from terrablate.training.task import ONE_LABEL, Task, task_of

type _Moment = float | torch.cuda.Event
"""A time by the clock; on a GPU the place in its queue of work, which is behind what this process does."""


def _moment(device: torch.device) -> _Moment:
    if device.type != "cuda":
        return time.monotonic()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _seconds(start: _Moment, end: _Moment) -> float:
    """Between two moments that have passed, both on one device."""
    if isinstance(start, torch.cuda.Event):
        assert isinstance(end, torch.cuda.Event)
        return float(start.elapsed_time(end)) / 1000
    assert isinstance(end, float)
    return end - start


def columns(num_classes: int, task: Task = ONE_LABEL) -> list[str]:
    """Names of what an evaluation adds to the row of its epoch."""
    val = [f"{name}/val" for name in task.metric_names(num_classes)]
    return [*val, "nll/probe", "accuracy/probe", "gap/loss", "gap/accuracy"]


def scores(
    logits: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor], task: Task = ONE_LABEL
) -> dict[str, float | None]:
    """What an evaluation adds to the row of its epoch, from logits N,K and labels N or N,K of `val` and `probe`."""
    val = task.all_metrics(logits["val"], labels["val"])
    probe = task.curves(logits["probe"], labels["probe"])
    gaps = {"gap/loss": val["nll"] - probe["nll"], "gap/accuracy": probe["accuracy"] - val["accuracy"]}
    found = {f"{name}/val": value for name, value in val.items()} | {f"{name}/probe": v for name, v in probe.items()}
    return {**found, **gaps}


def read_at_once(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of one device as they are on the CPU: one transfer, and so one wait for the device.

    Args:
        values: of up to 53 bits.
    """
    whole = torch.cat([value.detach().reshape(-1).double() for value in values.values()]).cpu()
    parts = torch.split(whole, [value.numel() for value in values.values()])
    return {
        name: part.to(value.dtype).view(value.shape) for (name, value), part in zip(values.items(), parts, strict=True)
    }


class EpochEnd(Callback):
    """Evaluates val and probe, keeps history and best weights, steps the plateau schedule, stops, prunes, checkpoints.

    One unmonitored checkpoint holds all of it, so that a resumed run gives the digits of an undisturbed one.

    Args:
        config: of the run.
        data: its data module.
        record: where rank 0 writes.
        history: so far.
        total_epochs: of the budget.
        loggers: get each row, on rank 0.
    """

    def __init__(
        self,
        config: Config,
        data: ChipDataModule,
        record: Record,
        history: History,
        total_epochs: int,
        loggers: Sequence[CurveLogger],
    ) -> None:
        self.config = config
        self.data = data
        self.task = task_of(config.data)
        self.record = record
        self.history = history
        self.total_epochs = total_epochs
        self.loggers = loggers
        self._labels = {name: torch.from_numpy(data.labels(name)) for name in ("val", "probe")}
        self._best: dict[str, Any] | None = None
        self._saved_at = time.monotonic()
        self._epoch_began = time.monotonic()
        self._training_began: _Moment = self._epoch_began

    def on_train_epoch_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Take the time."""
        self._epoch_began, self._training_began = time.monotonic(), _moment(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """End a run that another process has taken over."""
        self.record.check_claim()

    def on_train_epoch_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Everything, in order."""
        assert isinstance(pl_module, Classifier)
        epoch = trainer.current_epoch + 1
        training_ended = _moment(pl_module.device)
        pl_module.average_epoch(self.total_epochs)
        is_due = epoch == self.total_epochs or epoch % self.config.eval_every == 0
        objective, found = self._read(pl_module, is_due=is_due)
        row: Row = {
            "epoch": epoch,
            "step": trainer.global_step,
            "lr": max(group["lr"] for group in trainer.optimizers[0].param_groups),  # the head's
            "objective/train": objective,
            **found,
        }
        images = min(len(self.data.train_indices), self.config.batch_size * self.data.steps_per_epoch)
        if pl_module.pruning:
            row["parameters"] = sum(parameter.numel() for parameter in pl_module.network.parameters())
        row["images_per_second"] = images / max(_seconds(self._training_began, training_ended), 1e-9)
        seconds = time.monotonic() - self._epoch_began
        row["seconds"] = seconds
        self.history.seconds += seconds
        self.history.rows.append(row)
        if row["nll/val"] is not None:
            if self.history.best_epoch == epoch:
                self._keep_best(pl_module, epoch)
            if pl_module.plateau is not None:
                pl_module.plateau.step(row["nll/val"])
        if trainer.is_global_zero:
            self.record.append_metrics(row)
            for logger in self.loggers:
                logger.epoch(row)
        if self.history.ended(self.config, self.total_epochs):
            trainer.should_stop = True
        else:
            pl_module.prune_epoch(trainer.optimizers[0])
        self._save(trainer)

    def _read(self, module: Classifier, *, is_due: bool) -> tuple[float, dict[str, float | None]]:
        """The objective of the epoch, and what its evaluation gives where it is due or the objective is NaN.

        Waits for the device once.
        """
        total, images = module.take_objective()
        if not is_due and (objective := float(total) / images) == objective:
            return objective, dict.fromkeys(columns(len(self.data.pack.classes), self.task))
        module.synchronise_buffers()
        on_device = {
            name: module.collect_logits(self.data.eval_stream(name), len(labels))
            for name, labels in self._labels.items()
        }
        read = read_at_once({"objective": total, **on_device})
        objective = float(read.pop("objective")) / images
        self.history.last_logits = read["val"]
        return objective, scores(read, self._labels, self.task)

    def _keep_best(self, module: Classifier, epoch: int) -> None:
        state = {name: value.detach().clone() for name, value in module.deployed_state().items()}
        best = {"epoch": epoch, "state_dict": state, "val_logits": self.history.last_logits}
        self._best = with_cuts(best, module.cuts)

    def _save(self, trainer: "lightning.Trainer") -> None:
        """Best weights first, then the checkpoint that says which they are; not more often than it is worth."""
        due = time.monotonic() - self._saved_at >= self.config.trainer.checkpoint_seconds
        due = bool(trainer.strategy.broadcast(due)) if trainer.world_size > 1 else due
        if not due and not trainer.should_stop and trainer.current_epoch + 1 < self.total_epochs:
            return
        best = self._best
        if best is not None and trainer.is_global_zero:
            self.record.write("checkpoints/best.ckpt", lambda file: torch.save(best, file))
        self._best = None
        path = self.record.last_checkpoint
        temporary = path.with_name(".last.ckpt.part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(path)
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoint."""
        return self.history.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stands; `metrics.csv` was cut to it before."""
        restored = History.of_state(state_dict)
        self.history.rows, self.history.seconds = restored.rows, restored.seconds
        self.history.last_logits = restored.last_logits
