"""`logger=wandb`: one W&B run for one run, online or offline, laid out so that W&B's own workspace reads well."""

import json
import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terrablate.config.parse import plain
from terrablate.config.schema import Config
from terrablate.training.logged import curves, levels, summary
from terrablate.training.record import Row

logger = logging.getLogger(__name__)


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
            config=plain(config) | {"variant": config.study.member.variant, "levels": levels(config)},
            resume=None if offline else "allow",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=offline),
        )
        self._run.define_metric("epoch", hidden=True)  # the axis of all others, and no panel
        self._run.define_metric("*", step_metric="epoch")
        if offline:
            for row in rows:
                self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Log the row of an epoch, at the step of its number."""
        self._run.log(curves(row), step=int(row["epoch"] or 0))

    def finish(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        """Best and deployed values into the summary; figures, errors and worst images attached; always closed."""
        if result is None or result["status"] == "failed":
            self._run.finish(exit_code=1)
            return
        for name, value in summary(result).items():
            self._run.summary[name] = value
        self._run.log(self._attachments(result, folder), step=int(result["epochs"]))
        self._run.finish(exit_code=0)

    def _attachments(self, result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        import wandb

        files = {f"pictures/{name}": folder / f"{name}.png" for name in ("curves", "augmentations")}
        found: dict[str, Any] = {name: wandb.Image(str(path)) for name, path in files.items() if path.is_file()}
        classes = result["classes"]
        if result["confusion"] is not None:
            rows = [
                [classes[true], classes[predicted], count]
                for true, counts in enumerate(result["confusion"])
                for predicted, count in enumerate(counts)
            ]
            columns = ["Actual", "Predicted", "nPredictions"]  # as W&B's chart calls them
            found["errors/confusion"] = wandb.plot_table(
                "wandb/confusion_matrix/v1",
                wandb.Table(columns=columns, data=rows),
                {name: name for name in columns},
                {"title": "val images by true and predicted class"},
            )
        recall = [[name, value] for name, value in zip(classes, result["accuracy_by_class"] or [], strict=False)]
        if recall and not result.get("by_class"):
            found["errors/by_class"] = wandb.Table(columns=["class", "accuracy"], data=recall)
        if by_class := result.get("by_class"):
            names = list(by_class[0])
            data = [[name, *(each[key] for key in names)] for name, each in zip(classes, by_class, strict=True)]
            found["errors/by_class"] = wandb.Table(columns=["class", *names], data=data)
        if worst := [wandb.Image(str(path), caption=caption) for path, caption in worst_images(folder)]:
            found["errors/worst"] = worst
        return found


def worst_images(folder: Path) -> list[tuple[Path, str]]:
    """The thumbnails that a record has of its worst val images, each with what it is and what was answered."""
    try:
        index = json.loads((folder / "worst" / "index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # of a diverged run
        return []
    found = []
    for entry in index:
        true = entry["label"] if "label" in entry else ", ".join(entry["labels"]) or "(none)"
        predicted = entry["predicted"]
        said = predicted if isinstance(predicted, str) else ", ".join(predicted) or "(none)"
        found.append((folder / entry["file"], f"true: {true}; says: {said}; NLL {entry['nll']:.2f}"))
    return [
        (picture, caption) for picture, caption in found if picture.is_file()
    ]  # a full disk may have kept some away


def _tags(config: Config) -> list[str]:
    """Those that were asked for, the levels of a study, and a warning; W&B takes 64 characters each."""
    told = [f"{factor}={level}"[:64] for factor, level in (config.study.member.levels or {}).items()]
    synthetic = ["synthetic data"] if config.data.source == "synthetic" else []
    return list(dict.fromkeys([*config.logger.tags, *told, *synthetic]))


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
