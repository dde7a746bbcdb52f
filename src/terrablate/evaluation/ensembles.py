"""Ensembles over the seeds of a variant: the mean of the probabilities of its runs."""

import csv
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from terrablate.evaluation.options import MeanProbability
from terrablate.evaluation.outcome import Evaluated, Figures, Finding
from terrablate.study.run_table import write_text
from terrablate.training.task import task_of

logger = logging.getLogger(__name__)


def ensembles(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The figures of the ensemble of each variant that has two seeds or more, and of each option.

    Args:
        findings: of the runs of a study.

    Returns:
        For each: `variant`, `kind` (`plain`, `tta`, `mc_dropout`), `members` (seeds), `val` and, where images were
        opened, `opened`, each with `figures` of the ensemble and `members`, the mean figures of its members.
    """
    by_variant: dict[str, list[Finding]] = {}
    for finding in findings:
        by_variant.setdefault(finding.subject.variant, []).append(finding)
    found = []
    for variant, members in by_variant.items():
        if len(members) < 2:
            logger.warning("ensemble=true: %s has one finished seed only, so that it has no ensemble", variant)
            continue
        for kind in members[0].val.figures:
            entry: dict[str, Any] = {"variant": variant, "kind": kind}
            entry["members"] = [member.subject.seed for member in members]
            entry["val"] = _together([member.val for member in members], members[0], kind)
            opened = [member.opened for member in members if member.opened is not None]
            entry["opened"] = _together(opened, members[0], kind) if len(opened) == len(members) else None
            found.append(entry)
    return found


def write_ensembles(folder: Path, stem: str, found: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Write `<stem>_ensembles.json` and `.csv` into the folder of a study.

    Args:
        folder: of the study.
        stem: such as `test`.
        found: by `ensembles`.
        about: what else the JSON file says.
    """
    name = stem.split("-")[0]
    rows = []
    for entry in found:
        row: dict[str, Any] = {"variant": entry["variant"], "kind": entry["kind"]}
        row |= {"seeds": " ".join(map(str, entry["members"]))}
        for where, prefix in (("val", "val"), ("opened", name)):
            if entry[where] is not None:
                row |= {f"{prefix}.{key}": value for key, value in entry[where]["figures"].items()}
                row |= {f"{prefix}.mean_of_members.{key}": value for key, value in entry[where]["members"].items()}
        rows.append(row)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)
    write_text(folder / f"{stem}_ensembles.csv", buffer.getvalue())
    entries = [{key: value for key, value in entry.items() if key != "opened"} for entry in found]
    for entry, whole in zip(entries, found, strict=True):
        if whole["opened"] is not None:
            entry[name] = whole["opened"]
    content = {**about, "ensembles": entries}
    write_text(folder / f"{stem}_ensembles.json", json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _together(members: Sequence[Evaluated], first: Finding, kind: str) -> dict[str, Figures]:
    """Of members that have seen the same images."""
    task = task_of(first.subject.config.data)
    mean = MeanProbability(several=first.subject.config.data.labels == "several")
    for member in members:
        mean.add(member.logits[kind])
    figures = task.all_metrics(mean.logits(), torch.from_numpy(members[0].labels))
    averages = {name: math.fsum(each.figures[kind][name] for each in members) / len(members) for name in figures}
    return {"figures": figures, "members": averages}


def _finite(content: Any) -> Any:
    """Numbers that are not finite become null."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return content
