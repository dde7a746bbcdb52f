"""Tiny runs and studies that are trained in this process, and `evaluate.py` called on them in this process."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from helpers import compose_in
from terrablate.config import Config
from terrablate.config.choices import CONF
from terrablate.study.folder import StudyFolder
from terrablate.study.outcome import Outcome, outcome_of
from terrablate.study.plan import PlannedRun
from terrablate.training import floor
from terrablate.training.record import Record
from terrablate.training.run import run

TINY = ("data.train=40", "data.val=20", "data.test=23", "data.size=16")
SMALL = ("model=small_cnn", "model.width=4", "trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=16")


def train(folder: Path, *overrides: str) -> Record:
    """A run of two epochs below a folder."""
    trees, floor.TREES = floor.TREES, 5
    try:
        return run(tiny(folder, *overrides))
    finally:
        floor.TREES = trees


def tiny(folder: Path, *overrides: str) -> Config:
    """Its config."""
    chosen = [word.removeprefix("data=") for word in overrides if word.startswith("data=")]
    sizes = TINY if not chosen or chosen[-1].startswith("synthetic") else ()
    return compose_in(folder, *SMALL, *sizes, *overrides)


def write_study(
    folder: Path, variants: dict[str, Sequence[str]], seeds: Sequence[int], *common: str, **definition: Any
) -> Path:
    """Train all runs of a study, and write its folder as the sweeper does."""
    planned = [
        PlannedRun(name, {"variant": name}, seed, tuple(words), f"{name}-{seed}", {})
        for seed in seeds
        for name, words in variants.items()
    ]
    study = StudyFolder(folder / "studies" / "tiny")
    about = {"name": "tiny", "question": "?", "metric": "accuracy", "deployed": "auto", "seeds": list(seeds)}
    study.settle(about | definition, planned)
    for each in planned:
        record = train(folder, *common, *each.overrides, f"seed={each.seed}")
        study.add(each.variant, each.seed, outcome_of(str(record.folder), record.result(), 1.0))
    return study.folder


def mark(study: Path, variant: str, seed: int, kind: Any, reason: str) -> None:
    """Let a run of a study have ended otherwise."""
    StudyFolder(study).add(variant, seed, Outcome(kind=kind, reason=reason, status=1))


def evaluate(folder: Path, *words: str) -> None:
    """As the command does, in this process."""
    from hydra import compose, initialize_config_dir

    from terrablate.config.resolvers import register
    from terrablate.evaluation.evaluate import evaluate_all
    from terrablate.evaluation.settings import settings_of
    from terrablate.evaluation.subjects import subjects_of
    from terrablate.evaluation.words import rewritten

    register()
    places = [f"{name}_dir={folder / name}" for name in ("runs", "packs", "studies")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("evaluate", overrides=rewritten([*places, "trainer=cpu", "trainer.threads=1", *words]))
    settings = settings_of(composed)
    evaluate_all(settings, subjects_of(settings))


def register_of(folder: Path, name: str = "test") -> list[dict[str, str]]:
    """The lines of `test_openings.csv`, or of `transfer_openings.csv`; none where there is no such file."""
    path = folder / f"{name}_openings.csv"
    return rows(path) if path.exists() else []


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def records_of(study: Path) -> dict[tuple[str, int], Path]:
    """The folders of a study's runs by variant and seed."""
    return {(row["variant"], int(row["seed"])): Path(row["folder"]) for row in rows(study / "runs.csv")}


def move(study: Path, old: Path, new: Path) -> None:
    """Let the table of a copied study name the copied runs."""
    table = study / "runs.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(str(old), str(new)), encoding="utf-8")


def define(study: Path, **changes: Any) -> None:
    """Change what a study declares."""
    path = study / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
