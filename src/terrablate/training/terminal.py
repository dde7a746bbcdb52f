"""What a person sees while a run trains and when it ends: a bar in a terminal, lines elsewhere, a short summary."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from terrablate.data.batches import Batch
from terrablate.training.floor import sentence
from terrablate.training.history import History
from terrablate.training.task import TASKS

_SECONDS_BETWEEN_LINES = 5.0
_DRAWN_A_SECOND = 4
"""How often the bar is drawn, each time for some milliseconds of training."""


class _ImagesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "", style="progress.data.speed")


class _Bar(Progress):
    """A progress bar with a line of figures below it."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.figures, overflow="ellipsis", no_wrap=True)


class ProgressDisplay(Callback):
    """Shows how far a run is; rank 0 only.

    Args:
        history: whose last row is shown after each epoch.
        total_epochs: of the budget.
        images_per_epoch: that training visits.
    """

    def __init__(self, history: History, total_epochs: int, images_per_epoch: int) -> None:
        self._history = history
        self._total_epochs = total_epochs
        self._total_images = images_per_epoch * total_epochs
        self._shown_images = 0
        self._moved_at = 0.0
        self._images_per_epoch = images_per_epoch
        self._bar: _Bar | None = None
        self._shown_at = 0.0
        self._began = 0.0
        self._began_epochs = 0
        self._console = Console(stderr=True)

    def on_train_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Open the bar."""
        self._began, self._began_epochs = time.monotonic(), self._history.epochs
        self._shown_images = self._images_per_epoch * self._began_epochs
        if not self._console.is_terminal:
            return
        self._bar = _Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            _ImagesPerSecond(),
            TimeElapsedColumn(),
            TextColumn("elapsed, ETA"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=_DRAWN_A_SECOND,
        )
        self._task = self._bar.add_task(self._epoch(), total=self._total_images, completed=self._shown_images)
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        self._shown_images += batch["size"]
        now = time.monotonic()
        if self._bar is not None and now - self._moved_at >= 1 / _DRAWN_A_SECOND:
            self._bar.update(self._task, completed=self._shown_images)
            self._moved_at = now

    def on_train_epoch_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Show the newest figures."""
        if self._bar is not None:
            self._bar.figures = self._figures()
            self._shown_images = self._images_per_epoch * self._history.epochs
            self._bar.update(self._task, description=self._epoch(), completed=self._shown_images)
            return
        now = time.monotonic()
        due = self._history.rows[-1]["nll/val"] is not None and now - self._shown_at >= _SECONDS_BETWEEN_LINES
        if due or trainer.should_stop or self._at_end():
            self._shown_at = now
            trained = self._history.epochs - self._began_epochs
            left = (self._total_epochs - self._history.epochs) * (now - self._began) / max(trained, 1)
            speed = self._history.rows[-1]["images_per_second"] or 0
            sys.stderr.write(f"{self._epoch()}{self._figures()}  {speed:,.0f} images/s  ETA {_clock(left)}\n")
            sys.stderr.flush()

    def on_train_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", exception: BaseException
    ) -> None:
        """Close the bar, also after Ctrl-C."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _at_end(self) -> bool:
        return self._history.epochs >= self._total_epochs

    def _epoch(self) -> str:
        return f"epoch {self._history.epochs:>{len(str(self._total_epochs))}}/{self._total_epochs}"

    def _figures(self) -> str:
        """Of the newest evaluation, which may be some epochs old."""
        row = next((row for row in reversed(self._history.rows) if row["nll/val"] is not None), None)
        if row is None:
            return ""
        name, key = _quality(row)
        return (
            f"  val NLL {row['nll/val']:.3f}  probe NLL {row['nll/probe']:.3f}  gap {row['gap/loss']:+.3f}"
            f"  val {name} {row[key]:.3f}"
        )


def show_summary(result: Mapping[str, Any], folder: str, *, already_done: bool = False) -> None:
    """A few lines on stdout: how good, how much overfitting, where the files are."""
    overfitting, best, deployed = result["overfitting"], result["best"], result["deployed"]
    lines = [_heading(result) + ("   (done before; force=true trains anew)" if already_done else "")]
    if best is not None:
        lines.append(f"best epoch    {best['epoch']} of {result['epochs']}: {_scores(best)}")
    if deployed is not None:
        lines.append(f"deployed      {deployed['which']}, epoch {deployed['epoch']}: {_scores(deployed)}")
    if overfitting["gap_loss"] is not None:
        name = _accuracy_name(result)
        lines.append(f"gap at end    NLL {overfitting['gap_loss']:+.3f}, {name} {overfitting['gap_accuracy']:+.3f}")
    lines.append(f"verdict       {overfitting['sentence']}")
    if result.get("prune"):
        lines.append(f"pruned        {_pruned(result['prune'])}")
    if result.get("by_heart"):
        lines.append(f"by heart      {result['by_heart']['sentence']}")
    if result.get("beats_floor") is False:  # no such key in records of older versions
        lines.append(f"floor         {sentence(result['floor'])}: the network does not beat it")
    lines.append(f"record        {folder}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _heading(result: Mapping[str, Any]) -> str:
    levels = result["levels"]
    neutral = {"native", "none", "scratch", "constant", "auto", "csv", "cpu", "gpu"}
    chosen = [f"{group}={level}" for group, level in levels.items() if level not in neutral]
    data = "   (synthetic data, not real)" if result["synthetic"] else ""
    return f"{' '.join(chosen)} seed={result['seed']}{data}"


def _scores(scores: Mapping[str, Any]) -> str:
    def shown(name: str) -> str:
        value = scores.get(name)
        return "not finite" if value is None else f"{value:.3f}"

    name, key = _quality(scores)
    exact = f", exact match {shown('accuracy/val')}" if key != "accuracy/val" else ""
    return f"val {name} {shown(key)}{exact}, val NLL {shown('nll/val')}"


def _accuracy_name(result: Mapping[str, Any]) -> str:
    return TASKS[result.get("labels", "one")].accuracy_name  # records of older versions do not say


def _quality(row: Mapping[str, Any]) -> tuple[str, str]:
    """Name and key of the figure that is asked for first: mean average precision where images have several labels."""
    several = "average_precision_macro/val"
    return ("mAP", several) if several in row else ("accuracy", "accuracy/val")


def _pruned(prune: Mapping[str, Any]) -> str:
    """What is left, such as `parameters 11,201,162 to 5,590,026 (50 %), MACs ...`."""
    parts = []
    for name, word in (("parameters", "parameters"), ("macs", "MACs")):
        before, after = prune[name]["before"], prune[name]["after"]
        parts.append(f"{word} {before:,} to {after:,} ({after / before:.0%})")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
