"""Planned runs and a table with a row for each: `plan.json` and `runs.csv`, or those of tuning."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from terrablate.errors import UserError
from terrablate.study.outcome import Outcome
from terrablate.study.plan import PlannedRun
from terrablate.training.record import FINISHED, Record, write_whole

type Row = dict[str, str]

_NEEDED = {"variant", "seed", "status", "digest", "folder", "reason"}
_LEFT_OUT = ("classes", "confusion", "accuracy_by_class", "levels", "run_id", "seed", "status", "traceback")


class RunTable:
    """Two files that are whole or not there; the caller holds a lock while it writes.

    Args:
        plan: with the runs, as JSON.
        table: with their ends, as CSV.
    """

    def __init__(self, plan: Path, table: Path) -> None:
        self._plan = plan
        self._table = table

    def settle(self, runs: Sequence[PlannedRun]) -> None:
        """Write a plan down; the table gets a row for each of its runs, and keeps what it knows of them."""
        write_text(self._plan, json.dumps([_plain(run) for run in runs], indent=1) + "\n")
        self._write(runs, self.rows())

    def add(self, key: tuple[str, int], outcome: Outcome) -> None:
        """Take a run's end into the table; one that is not planned here has no place in it."""
        planned = self.planned()
        run = next((run for run in planned if run.key == key), None)
        if run is not None:
            self._write(planned, [*(row for row in self.rows() if key_of(row) != key), _row(run, outcome)])

    def planned(self) -> list[PlannedRun]:
        """The runs of the plan.

        Raises:
            UserError: if the file is damaged.
        """
        try:
            items = json.loads(_text_of(self._plan) or "[]")
            if not isinstance(items, list):
                raise TypeError("expected a list")
            return [PlannedRun(**{**item, "overrides": tuple(item["overrides"])}) for item in items]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self._plan}: is damaged; remove it, and the plan is made anew") from error

    def rows(self) -> list[Row]:
        """The table.

        Raises:
            UserError: if the file is damaged.
        """
        try:
            rows = list(csv.DictReader(io.StringIO(_text_of(self._table))))
            whole = all(_is_whole(row) for row in rows)
        except (UnicodeDecodeError, csv.Error):
            whole = False
        if not whole:
            raise UserError(f"{self._table}: is damaged; remove it, and it is made anew from the records of the runs")
        return rows

    def _write(self, planned: Sequence[PlannedRun], rows: Iterable[Row]) -> None:
        by_key = {key_of(row): row for row in rows}
        ordered = []
        for run in planned:
            row = by_key.get(run.key)
            if row is None or row["digest"] != run.digest:
                row = _row(run, None)
            ordered.append({**row, "added": str(run.added).lower()})
        columns = list(dict.fromkeys(column for row in ordered for column in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
        write_text(self._table, buffer.getvalue())


def _text_of(path: Path) -> str:
    """Of a file; of none that is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UserError(f"studies_dir: {path} cannot be read: {error.strerror or error}") from error


def _is_whole(row: Mapping[Any, Any]) -> bool:
    """Whether it has the columns that are needed, and no more or fewer cells than the header says."""
    return None not in (*row, *row.values()) and row.keys() >= _NEEDED and row["seed"].isdecimal()


def key_of(row: Row) -> tuple[str, int]:
    """As `PlannedRun.key`."""
    return row["variant"], int(row["seed"])


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))


def _row(run: PlannedRun, outcome: Outcome | None) -> Row:
    """A run as `runs.csv` has it; of one that has not ended, its plan."""
    row: dict[str, Any] = {"variant": run.variant, **{f"level.{name}": level for name, level in run.levels.items()}}
    row |= {f"tuned.{key}": value for key, value in run.tuned.items()}
    kind, reason, where = ("planned", None, None) if outcome is None else (outcome.kind, outcome.reason, outcome.folder)
    row |= {"seed": run.seed, "status": kind, "digest": run.digest}
    row |= {"added": run.added, "reason": reason or "", "folder": where or ""}
    result = Record(Path(row["folder"])).result() if row["folder"] else None
    if result is not None and result.get("status") in FINISHED:
        row |= _flat({key: value for key, value in result.items() if key not in _LEFT_OUT})
    return {key: _text(value) for key, value in row.items()}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[f"{prefix}{key}"] = value
    return found


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _plain(run: PlannedRun) -> dict[str, Any]:
    return {**vars(run), "overrides": list(run.overrides), "levels": dict(run.levels), "tuned": dict(run.tuned)}
