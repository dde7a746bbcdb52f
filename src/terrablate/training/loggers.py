"""Where curves go besides `metrics.csv`: Weights & Biases, or TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from terrablate.config.schema import Config
from terrablate.training.record import Row


class CurveLogger(Protocol):
    """Takes the rows of a run as they come, and its end."""

    def epoch(self, row: Row) -> None:
        """Log the row of an epoch."""
        ...

    def finish(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        """Close the log; `result` is None when the run did not end by itself."""
        ...


def make_loggers(config: Config, run_id: str, folder: Path, rows: Sequence[Row]) -> list[CurveLogger]:
    """The loggers that a config asks for, besides `metrics.csv`, which is always written.

    Args:
        config: of the run.
        run_id: under which W&B knows the run.
        folder: of the record; the loggers' files lie in it.
        rows: of the epochs before this session, when a cut-off run goes on.
    """
    match config.logger.name:
        case "wandb":
            from terrablate.training.wandb_curves import WandbCurves

            return [WandbCurves(config, run_id, folder, rows)]
        case "tensorboard":
            from terrablate.training.tensorboard_curves import TensorBoardCurves

            return [TensorBoardCurves(config, folder, rows)]
        case "csv":
            return []
