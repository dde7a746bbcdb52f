"""Runs of a study that are being trained: their records have curves, and no result yet."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from terrablate.study.run_files import RunFiles

if TYPE_CHECKING:
    from terrablate.study.evidence import Evidence

RUNNING = "running"
"""Status of a run that has not ended and has a record with curves."""
_KEY = "runs_dir="


def with_running(evidence: "Evidence") -> "Evidence":
    """The evidence with the folders of the runs that are being trained, whose status becomes `running`.

    Args:
        evidence: of a study; runs without one are all finished.
    """
    missing = {(run.variant, run.seed) for run in evidence.runs if run.status == "missing"}
    if evidence.folder is None or not missing:
        return evidence
    found = dict(_found(evidence, missing))
    runs = tuple(
        dataclasses.replace(run, status=RUNNING, reason="is being trained", folder=found[run.variant, run.seed])
        if (run.variant, run.seed) in found and run.status == "missing"
        else run
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def _found(evidence: "Evidence", missing: set[tuple[str, int]]) -> "Iterator[tuple[tuple[str, int], Path]]":
    for folder in _folders(evidence):
        if (folder / "result.json").exists() or not (folder / "metrics.csv").exists():
            continue
        config = RunFiles(folder).config([])
        study = config.get("study")
        member = study.get("member") if isinstance(study, Mapping) else None
        if isinstance(study, Mapping) and isinstance(member, Mapping) and study.get("name") == evidence.name:
            key = (str(member.get("variant")), config.get("seed"))
            if key in missing:
                yield (key[0], int(key[1] or 0)), folder


def _folders(evidence: "Evidence") -> "Iterator[Path]":
    """Everything beside the records that are known, and in the folder of runs that the study was told."""
    above = {run.folder.parent for run in evidence.runs if run.folder is not None}
    for word in evidence.overrides:
        if word.startswith(_KEY):
            above.add(Path(str(yaml.safe_load(word.removeprefix(_KEY)))).resolve())
    if evidence.folder is not None:
        above.add(evidence.folder.parent.parent / "runs")
    for parent in sorted(above):
        if parent.is_dir():
            yield from sorted(path for path in parent.iterdir() if path.is_dir())
