"""Where curves go besides `metrics.csv`: Weights & Biases, online or offline."""

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from terrablate.config.parse import plain
from terrablate.config.schema import Config
from terrablate.training.record import Row

logger = logging.getLogger(__name__)


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
        folder: of the record; W&B's files lie in it.
        rows: of the epochs before this session, when a cut-off run goes on.
    """
    return [WandbCurves(config, run_id, folder, rows)] if config.logger.name == "wandb" else []


class WandbCurves:
    """One W&B run for one run, also after it was cut off.

    Offline, W&B cannot resume: the rows so far are replayed into a fresh file and the old one is marked superseded, so
    that `wandb sync` gives one whole run.
    """

    def __init__(self, config: Config, run_id: str, folder: Path, rows: Sequence[Row]) -> None:
        import wandb

        mode = _mode(config.logger.mode)
        offline = mode == "offline"
        if offline:
            _supersede(folder)
        earlier = len(list((folder / "archive").glob("*"))) if (folder / "archive").is_dir() else 0
        self._run = wandb.init(
            project=config.logger.project,
            entity=config.logger.entity,
            group=config.logger.group or config.study.name,
            job_type=config.logger.job_type or config.study.member.variant,
            tags=_tags(config),
            id=f"{run_id}-{earlier}" if earlier else run_id,  # a run trained anew by force is another one
            name=run_id,
            dir=folder,
            mode="offline" if offline else "online",
            config=plain(config),
            resume=None if offline else "allow",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=offline),
        )
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        if offline:
            for row in rows:
                self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Log the row of an epoch, at the step of its number."""
        values = {name: value for name, value in row.items() if value is not None}
        self._run.log(values, step=int(row["epoch"] or 0))

    def finish(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        """Best and deployed values into the summary, figures and confusion matrix attached; always closed."""
        import wandb

        if result is None or result["status"] == "failed":
            self._run.finish(exit_code=1)
            return
        for which in ("best", "last", "deployed"):
            for name, value in (result[which] or {}).items():
                if isinstance(value, int | float):
                    self._run.summary[f"{which}/{name}"] = value
        overfitting = result["overfitting"]
        for name in ("verdict", "sentence", "onset_epoch", "excess_loss"):
            self._run.summary[f"overfitting/{name}"] = overfitting[name]
        images = {name: folder / f"{name}.png" for name in ("curves", "augmentations")}
        step = int(result["epochs"])
        self._run.log({name: wandb.Image(str(path)) for name, path in images.items() if path.is_file()}, step=step)
        if result["confusion"] is not None:
            classes = result["classes"]
            table = wandb.Table(
                columns=["true", *classes],
                data=[[name, *counts] for name, counts in zip(classes, result["confusion"], strict=True)],
            )
            self._run.log({"confusion/val": table}, step=step)
        if by_class := result.get("by_class"):
            columns = list(by_class[0])
            rows = [
                [name, *(each[column] for column in columns)]
                for name, each in zip(result["classes"], by_class, strict=True)
            ]
            self._run.log({"by_class/val": wandb.Table(columns=["class", *columns], data=rows)}, step=step)
        self._run.finish(exit_code=0)


def _tags(config: Config) -> list[str]:
    """Those that were asked for, the levels of a study, and a warning; W&B takes 64 characters each."""
    levels = [f"{factor}={level}"[:64] for factor, level in (config.study.member.levels or {}).items()]
    synthetic = ["synthetic data"] if config.data.source == "synthetic" else []
    return list(dict.fromkeys([*config.logger.tags, *levels, *synthetic]))


def _mode(asked: str) -> str:
    if asked != "auto":
        return asked
    environment = os.environ.get("WANDB_MODE")
    if environment in ("online", "offline"):
        return environment
    return "online" if os.environ.get("WANDB_API_KEY") or _has_login() else "offline"


def _has_login() -> bool:
    try:
        return "api.wandb.ai" in netrc.netrc().hosts
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def _supersede(folder: Path) -> None:
    for old in (folder / "wandb").glob("offline-run-*"):
        old.rename(old.with_name(f"superseded-{old.name}"))
        logger.info("W&B: %s is superseded by a whole one", old.name)
