"""A study's folder: its definition, its plan, and `runs.csv`, which several processes may write."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from terrablate.errors import ConfigError, UserError
from terrablate.study.outcome import Outcome
from terrablate.study.plan import PlannedRun
from terrablate.training.record import FINISHED, Record, write_whole

type Row = dict[str, str]

FAILED = ("failed", "died", "timed_out", "out_of_memory", "refused")
"""Ends of a run that a later start of the study tries again."""
_LEFT_OUT = ("classes", "confusion", "accuracy_by_class", "levels", "run_id", "seed", "status", "traceback")


class StudyFolder:
    """Below `studies_dir`, under the study's name.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def extended(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs of a plan; those that an earlier plan did not have, of which runs were begun, are marked as added.

        Raises:
            ConfigError: if that plan holds runs which this one does not.
        """
        if all(row["status"] == "planned" for row in self._rows()):
            return list(runs)
        return _extended(self.folder, self._planned(), runs)

    def settle(self, definition: Mapping[str, Any], runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Write the plan down.

        Args:
            definition: what makes the study this one, for `study.yaml`.
            runs: all that are planned now.

        Returns:
            The runs as `extended` gives them.

        Raises:
            UserError: if the folder cannot be written.
            ConfigError: if the plan that is there holds runs which this one does not.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock():
                settled = self.extended(runs)
                content = {"study.yaml": yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True)}
                content["plan.json"] = json.dumps([_plain(run) for run in settled], indent=1) + "\n"
                for name, text in content.items():
                    _write_text(self.folder / name, text)
                self._write(settled, self._rows())
        except OSError as error:
            raise UserError(f"studies_dir: {self.folder} cannot be written: {error.strerror or error}") from error
        return settled

    def done(self, runs: Iterable[PlannedRun], code: str | None) -> dict[tuple[str, int], Row]:
        """The rows of runs that need not be run again: their records are there, whole, and of this code.

        Args:
            runs: of the plan.
            code: code identity that a record must have; None accepts any.
        """
        rows = {(row["variant"], int(row["seed"])): row for row in self._rows()}
        found = {}
        for run in runs:
            row = rows.get(run.key)
            if row is None or row["status"] not in FINISHED or row["digest"] != run.digest:
                continue
            result = Record(Path(row["folder"])).result()
            if result is None or result.get("status") not in FINISHED:
                continue
            if code is None or result["provenance"]["code"] == code:
                found[run.key] = row
        return found

    def failed(self, runs: Iterable[PlannedRun]) -> set[tuple[str, int]]:
        """Runs whose last try failed."""
        rows = {(row["variant"], int(row["seed"])): row for row in self._rows()}
        return {
            run.key
            for run in runs
            if (row := rows.get(run.key)) and row["digest"] == run.digest and row["status"] in FAILED
        }

    def add(self, variant: str, seed: int, outcome: Outcome) -> None:
        """Take a run's end into `runs.csv`."""
        with self._lock():
            planned = self._planned()
            run = next((run for run in planned if run.key == (variant, seed)), None)
            if run is not None:
                rows = [row for row in self._rows() if (row["variant"], int(row["seed"])) != run.key]
                self._write(planned, [*rows, _row(run, outcome)])

    def table(self) -> list[Row]:
        """`runs.csv`."""
        return self._rows()

    def _lock(self) -> FileLock:
        return FileLock(self.folder / ".lock")

    def _planned(self) -> list[PlannedRun]:
        try:
            content = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.folder / 'plan.json'}: is damaged; remove it, and the plan is made anew") from error
        return [PlannedRun(**{**item, "overrides": tuple(item["overrides"])}) for item in content]

    def _rows(self) -> list[Row]:
        try:
            text = (self.folder / "runs.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return list(csv.DictReader(io.StringIO(text)))

    def _write(self, planned: Sequence[PlannedRun], rows: Iterable[Row]) -> None:
        by_key = {(row["variant"], int(row["seed"])): row for row in rows}
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
        _write_text(self.folder / "runs.csv", buffer.getvalue())


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def _extended(folder: Path, earlier: Sequence[PlannedRun], runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    known = {run.key: run for run in earlier}
    now = {run.key: run for run in runs}
    gone = [run for run in earlier if run.key not in now]
    changed = [run for key, run in now.items() if key in known and known[key].digest != run.digest]
    if gone or changed:
        run = (gone or changed)[0]
        what = "is not in it" if gone else "is another config in it"
        raise ConfigError(
            f"study.name: {folder} holds a study that was planned otherwise: {run.variant!r} with seed {run.seed}"
            f" {what} any more. Give study.name=... for a new study, or take the folder away; seeds and levels may be"
            " added, not taken away"
        )
    return [run if run.key in known and not known[run.key].added else replace(run, added=True) for run in runs]


def _row(run: PlannedRun, outcome: Outcome | None) -> Row:
    """A run as `runs.csv` has it; of one that has not ended, its plan."""
    row: dict[str, Any] = {"variant": run.variant, **{f"level.{name}": level for name, level in run.levels.items()}}
    row |= {f"tuned.{key}": value for key, value in run.tuned.items()}
    row |= {"seed": run.seed, "status": outcome.kind if outcome else "planned", "digest": run.digest}
    row |= {"added": run.added, "reason": (outcome.reason if outcome else "") or ""}
    row |= {"folder": (outcome.folder if outcome else "") or ""}
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
