"""The runs as a page lists them: figures, verdict, curves, config, files."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from terrablate.report.curves import Curves
from terrablate.report.facts import text_of
from terrablate.report.names import metric
from terrablate.report.records import Records
from terrablate.study.run_files import flat

if TYPE_CHECKING:
    from terrablate.study.evidence import Evidence, RunOf

FILES = (
    "report.html", "config.yaml", "result.json", "metrics.csv", "val_predictions.npz", "suspects.csv", "curves.png",
    "augmentations.png", "robustness.png", "robustness.json", "test.json",
)  # fmt: skip
"""Of a record, that the page leads to where they are there."""
_OF_THE_MACHINE = ("runs_dir", "studies_dir", "packs_dir", "study", "force", "code", "logger")
_FIRST = ("accuracy", "nll", "ece", "f1_macro", "accuracy_macro", "kappa", "top5", "label_accuracy")
_LAST = (
    ("gap_loss", "gap/loss"),
    ("gap_accuracy", "gap/accuracy"),
)
_SIGNIFICANT = 7


def columns_of(evidence: "Evidence") -> list[dict[str, str]]:
    """The numbers that the table of runs and the map of runs know: `key`, `label`, `source` (column of `runs.csv`)."""
    known = dict.fromkeys(column for run in evidence.runs for column in run.values)
    prefix = f"{evidence.which}."
    found = [
        column.removeprefix(prefix).removesuffix("/val")
        for column in known
        if column.startswith(prefix) and column.endswith("/val")
    ]
    ordered = [name for name in (evidence.metric, *_FIRST) if name in found]
    ordered = list(dict.fromkeys([*ordered, *found]))
    columns = [{"key": name, "label": f"val {metric(name).label}", "source": f"{prefix}{name}/val"} for name in ordered]
    columns += [{"key": k, "label": metric(k).label, "source": f"{prefix}{s}"} for k, s in _LAST if prefix + s in known]
    extra = [
        ("best_accuracy", "val accuracy, best epoch", "best.accuracy/val"),
        ("best_epoch", "best epoch", "best.epoch"),
        ("onset_epoch", "onset", "overfitting.onset_epoch"),
        ("excess_loss", metric("excess_loss").label, "overfitting.excess_loss"),
        ("epochs", "epochs", "epochs"),
        ("seconds", "seconds", "cost.seconds"),
        ("parameters", "parameters", "cost.parameters"),
    ]
    return columns + [{"key": k, "label": label, "source": s} for k, label, s in extra if s in known]


def run_rows(
    evidence: "Evidence", columns: Sequence[Mapping[str, str]], curves: Curves, records: Records, output: Path
) -> list[dict[str, Any]]:
    """A dict a run.

    Args:
        evidence: with the runs.
        columns: as `columns_of` gives them.
        curves: takes in the runs' curves.
        records: reads them.
        output: folder of the page; links to files start from there.
    """
    place = {variant.name: index for index, variant in enumerate(evidence.variants)}
    return [
        {
            "v": place[run.variant],
            "seed": run.seed,
            "status": run.status,
            "added": run.added,
            "reason": run.reason,
            "verdict": text_of(run, "overfitting.verdict"),
            "sentence": text_of(run, "overfitting.sentence"),
            "x": [_rounded(run.values.get(column["source"])) for column in columns],
            "curve": curves.add(records.curves(run.folder)) if run.folder else None,
            "floor": _floor(run),
            **_links(run.folder, output),
        }
        for run in evidence.runs
    ]


def configs(runs: Sequence["RunOf"]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What all configs have in common by dotted key, and of each run the rest."""
    found = [
        {
            key: written(value)
            for key, value in flat(dict(run.config)).items()
            if key.split(".")[0] not in _OF_THE_MACHINE
        }
        for run in runs
    ]
    known = [config for config in found if config]
    common = {
        key: value for key, value in (known[0] if known else {}).items() if all(c.get(key) == value for c in known)
    }
    return common, [{key: value for key, value in config.items() if key not in common} for config in found]


def written(value: Any) -> str:
    """A value of a config as one writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def link(path: Path, output: Path) -> str:
    """From the page to a file: relative, so that folders can be moved together."""
    try:
        relative = os.path.relpath(path.resolve(), output.resolve())
    except ValueError:  # another drive
        return path.resolve().as_uri()
    return quote(Path(relative).as_posix())


def _links(folder: Path | None, output: Path) -> dict[str, Any]:
    if folder is None:
        return {"folder": None, "files": []}
    return {
        "folder": link(folder, output),
        "name": folder.name,
        "files": [name for name in FILES if (folder / name).is_file()],
    }


def _floor(run: "RunOf") -> list[Any] | None:
    """Name and val accuracy of the best classical model."""
    name = text_of(run, "floor.best")
    value = run.values.get(f"floor.{name}.accuracy")
    return None if value is None else [name.replace("_", " "), round(value, 4)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_SIGNIFICANT}g}")
