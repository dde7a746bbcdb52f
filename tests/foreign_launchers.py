"""A small grid of which one run fails, under a launcher that is not ours, and what is expected of any launcher."""

import csv
import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from helpers import run_train

TINY = (
    "data.train=40 data.val=20 data.test=10 data.size=16 batch_size=16 model=small_cnn model.width=4 epochs=1 "
    "trainer.threads=1"
).split()
GRID = ("loss=focal,weighted,cross_entropy", "trainer=cpu", "study.name=grid")
"""`weighted` refuses classes that are equally frequent, once it sees the data."""


def sweep(folder: Path, *words: str) -> CompletedProcess[str]:
    """The command in a process of its own, called from another folder than the project's."""
    return run_train(folder, "-m", *TINY, *words)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """`result.json` of each run, by the name of its folder."""
    return {run.name: json.loads((run / "result.json").read_text()) for run in sorted((folder / "runs").glob("[!.]*/"))}


def metrics(folder: Path, run: str) -> list[dict[str, str]]:
    with (folder / "runs" / run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def table(folder: Path, study: str = "grid") -> dict[str, dict[str, str]]:
    """`runs.csv` of a study, by variant."""
    with (folder / "studies" / study / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["variant"] for row in rows}) == len(rows)
    return {row["variant"]: row for row in rows}


def check_grid(folder: Path, *launcher: str) -> CompletedProcess[str]:
    """Run GRID twice: one record and one row a run, the status of the one that fails, and what is done stays done."""
    done = sweep(folder, *GRID, *launcher)
    assert done.returncode == 2, done.stderr
    rows = table(folder)
    assert {name: row["status"] for name, row in rows.items()} == {
        "loss=focal": "complete",
        "loss=weighted": "refused",
        "loss=cross_entropy": "complete",
    }
    assert rows["loss=weighted"]["reason"].startswith("loss=weighted: all classes have equally many")
    complete = {name: result for name, result in records(folder).items() if result.get("status") == "complete"}
    found = {Path(row["folder"]).name: row for row in rows.values() if row["status"] == "complete"}
    assert set(found) == set(complete)
    for name, result in complete.items():
        assert [row["step"] for row in metrics(folder, name)] == ["3"]  # 40 images in batches of 16
        assert float(found[name]["last.accuracy/val"]) == result["last"]["accuracy/val"]
    written = {run: (folder / "runs" / run / "result.json").stat().st_mtime_ns for run in complete}
    again = sweep(folder, *GRID, *launcher, "study.retry=false")
    assert again.returncode == 1, again.stderr
    assert "3 runs, 2 of them done" in again.stderr
    assert "run 1 of the sweep" not in again.stderr
    assert written == {run: (folder / "runs" / run / "result.json").stat().st_mtime_ns for run in complete}
    return done
