"""What an evaluation found, and the files that it leaves beside the record of the run."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terrablate.data.source import Labels
from terrablate.errors import UserError
from terrablate.evaluation.data import EvaluationSet
from terrablate.evaluation.openings import Opening
from terrablate.evaluation.predictor import Logits
from terrablate.evaluation.settings import Settings
from terrablate.evaluation.subjects import Subject
from terrablate.training.task import Task

logger = logging.getLogger(__name__)

type Figures = Mapping[str, float]
"""Metrics by name, as val has them: `accuracy`, `nll`, `ece`, ..."""


@dataclass(frozen=True)
class Evaluated:
    """One set of images, evaluated by one run."""

    ids: list[str]
    labels: Labels
    logits: Logits
    figures: dict[str, Figures]
    """By option: `plain`, `tta`, `mc_dropout`."""
    details: Mapping[str, Any]
    """By class, of the plain figures."""
    fingerprint: str
    """Of the data."""

    def plain(self) -> dict[str, Any]:
        """For JSON: the plain figures, and below `variants` those of the options."""
        variants = {name: dict(each) for name, each in self.figures.items() if name != "plain"}
        return {"images": len(self.ids), **self.figures["plain"], "variants": variants}


@dataclass(frozen=True)
class Finding:
    """What one run gave: on its val, and on the images that were opened."""

    subject: Subject
    val: Evaluated
    opened: Evaluated | None
    about: Mapping[str, Any]
    """What else the file says."""


def evaluated(images: EvaluationSet, logits: Logits, task: Task) -> Evaluated:
    """Figures of logits.

    Args:
        images: that were evaluated.
        logits: of each option.
        task: what the labels ask for.
    """
    labels = torch.from_numpy(images.labels)
    figures: dict[str, Figures] = {name: task.all_metrics(each, labels) for name, each in logits.items()}
    details = task.details(logits["plain"], labels)
    return Evaluated(images.ids, images.labels, logits, figures, details, images.fingerprint)


def write_finding(settings: Settings, finding: Finding, opening: Opening | None) -> None:
    """Write `<stem>.json` beside the record, and for images that were opened `<stem>_predictions.npz`.

    Args:
        settings: of the command line.
        finding: of a run.
        opening: None for val, which is not locked.

    Raises:
        UserError: if the folder cannot be written.
    """
    subject, found = finding.subject, finding.opened
    stem = settings.stem if found else "val_options"
    content: dict[str, Any] = {
        "run_id": subject.record.folder.resolve().name,
        "variant": subject.variant,
        "seed": subject.seed,
        "which": subject.which,
        "epoch": (subject.result.get(subject.which) or {}).get("epoch"),
        "split": settings.split if found else "val",
        "data": settings.data.name if found and settings.data else subject.config.data.name,
        "synthetic": bool(subject.result.get("synthetic")),
        "classes": subject.result["classes"],
        **(found or finding.val).plain(),
        **(found or finding.val).details,
        "options": {"tta": settings.tta, "mc_dropout": settings.mc_dropout, "seed": settings.seed},
        **finding.about,
        "data_fingerprint": (found or finding.val).fingerprint,
    }
    if found and opening:
        content |= {"val": finding.val.plain(), "opened": opening.time, "opening": opening.count}
    try:
        if found:
            arrays: dict[str, Any] = {"ids": np.asarray(found.ids), "labels": found.labels}
            arrays |= {"logits" if name == "plain" else f"logits_{name}": v.numpy() for name, v in found.logits.items()}
            subject.record.write(f"{stem}_predictions.npz", lambda file: np.savez_compressed(file, **arrays))
        subject.record.write_json(f"{stem}.json", content)
    except OSError as error:
        raise UserError(f"{subject.record.folder}: cannot be written: {error.strerror or error}") from error


def openings_told_by(folder: Path, stem: str) -> int:
    """How often a run's own file says that its images were opened; 0 if there is none."""
    count = told(folder, stem).get("opening", 0)
    return count if isinstance(count, int) else 0


def told(folder: Path, stem: str) -> dict[str, Any]:
    """What `<stem>.json` of a run says; nothing if there is none, or it is damaged, which is logged."""
    path = folder / f"{stem}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        logger.warning("%s is damaged and does not count", path)
        return {}
    return content
