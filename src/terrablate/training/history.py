"""What a run has seen so far: a row an epoch, the evaluations, the best epoch; saved with every checkpoint."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from terrablate.config.schema import Config, EarlyStop, FittedStop
from terrablate.training.early_stopping import stop_epoch
from terrablate.training.overfitting import Evaluation, best_evaluation
from terrablate.training.record import Row


@dataclass
class History:
    """The curves of a run."""

    rows: list[Row] = field(default_factory=list)
    last_logits: torch.Tensor | None = None
    """Of val at the last evaluation: N,K on the CPU."""
    seconds: float = 0.0
    """Training and evaluation, over all sessions of the run."""

    def evaluations(self) -> list[Evaluation]:
        """The epochs that were evaluated, as the overfitting monitor takes them."""
        return [
            Evaluation(
                epoch=int(_number(row, "epoch")),
                nll_val=_number(row, "nll/val"),
                nll_probe=_number(row, "nll/probe"),
                accuracy_val=_number(row, "accuracy/val"),
                accuracy_probe=_number(row, "accuracy/probe"),
            )
            for row in self.rows
            if row["nll/val"] is not None
        ]

    @property
    def epochs(self) -> int:
        """Whole epochs trained."""
        return len(self.rows)

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the lowest val NLL."""
        evaluations = self.evaluations()
        index = best_evaluation(evaluations)
        return None if index is None else evaluations[index].epoch

    def row(self, epoch: int) -> Row:
        """The row of an epoch, counted from 1."""
        return self.rows[epoch - 1]

    def diverged(self) -> bool:
        """Whether a loss of the last epoch was not finite."""
        if not self.rows:
            return False
        losses = [self.rows[-1][name] for name in ("objective/train", "nll/val", "nll/probe")]
        return any(loss is not None and not math.isfinite(loss) for loss in losses)

    def ended(self, config: Config, total_epochs: int) -> str | None:
        """Why no further epoch is trained, or None."""
        if self.diverged():
            return "diverged"
        if self.rows and self.stopped_at(config) is not None:
            return "stopped"
        return "budget" if self.epochs >= total_epochs else None

    def stopped_at(self, config: Config) -> int | None:
        """The epoch at which the stopping rule ends the run; a function of the curves, so resuming needs no state."""
        evaluations, stop = self.evaluations(), config.stop
        if isinstance(stop, EarlyStop):
            return stop_epoch(evaluations, stop.metric, stop.patience, stop.min_delta)
        if isinstance(stop, FittedStop):
            return next((each.epoch for each in evaluations if each.accuracy_probe >= stop.accuracy), None)
        return None

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"rows": self.rows, "last_logits": self.last_logits, "seconds": self.seconds}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "History":
        """From a checkpoint."""
        return cls(list(state["rows"]), state["last_logits"], state["seconds"])


def _number(row: Row, name: str) -> float:
    value = row[name]
    assert value is not None
    return float(value)
