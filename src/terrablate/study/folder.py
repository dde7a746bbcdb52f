"""A study's folder: its definition, its plan, and its tables, which several processes may write."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from terrablate.errors import ConfigError, UserError
from terrablate.study.outcome import Outcome
from terrablate.study.plan import PlannedRun
from terrablate.study.run_table import Row, RunTable, key_of, write_text
from terrablate.training.record import FINISHED, Record

FAILED = ("failed", "died", "timed_out", "out_of_memory", "refused")
"""Ends of a run that a later start of the study tries again."""


class StudyFolder:
    """Below `studies_dir`, under the study's name.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._compared = RunTable(folder / "plan.json", folder / "runs.csv")
        self._tuning = RunTable(folder / "tuning.json", folder / "tuning.csv")

    def extended(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs of a plan; those that an earlier plan did not have, of which runs were begun, are marked as added.

        Raises:
            ConfigError: if that plan holds runs which this one does not.
        """
        return _extended(self.folder, self._binding(), runs)

    def still_planned(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs of a plan as an earlier one had them, where it had; before it is known what tuning will choose.

        Raises:
            ConfigError: if the earlier plan holds runs which this one does not.
        """
        earlier = {run.key: run for run in self._binding()}
        return self.extended([replace(earlier.get(run.key, run), added=False) for run in runs])

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
        with self._writing():
            settled = self.extended(runs)
            text = yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True)
            write_text(self.folder / "study.yaml", text)
            self._compared.settle(settled)
        return settled

    def settle_tuning(self, runs: Sequence[PlannedRun]) -> None:
        """Write down which runs choose nuisance settings; an earlier such plan binds nobody.

        Raises:
            UserError: if the folder cannot be written.
        """
        with self._writing():
            self._tuning.settle(runs)

    def done(self, runs: Iterable[PlannedRun], code: str | None) -> dict[tuple[str, int], Row]:
        """The rows of runs that need not be run again: their records are there, whole, and of this code.

        Args:
            runs: of the plan.
            code: code identity that a record must have; None accepts any.
        """
        found = {}
        for run, row in self._known(runs):
            result = Record(Path(row["folder"])).result() if row["status"] in FINISHED else None
            if result is None or result.get("status") not in FINISHED:
                continue
            if code is None or (result.get("provenance") or {}).get("code") == code:
                found[run.key] = row
        return found

    def failed(self, runs: Iterable[PlannedRun]) -> set[tuple[str, int]]:
        """Runs whose last try failed."""
        return {run.key for run, row in self._known(runs) if row["status"] in FAILED}

    def add(self, variant: str, seed: int, outcome: Outcome) -> None:
        """Take a run's end into the table that it belongs to.

        Raises:
            UserError: if the folder cannot be written.
        """
        with self._writing():
            for table in (self._compared, self._tuning):
                table.add((variant, seed), outcome)

    def table(self) -> list[Row]:
        """`runs.csv`."""
        return self._compared.rows()

    def _binding(self) -> list[PlannedRun]:
        """An earlier plan, if any of its runs was begun."""
        begun = any(row["status"] != "planned" for row in self._compared.rows())
        return self._compared.planned() if begun else []

    def _known(self, runs: Iterable[PlannedRun]) -> Iterator[tuple[PlannedRun, Row]]:
        """Runs with their rows, where these are of the same config."""
        rows = {key_of(row): row for row in [*self._compared.rows(), *self._tuning.rows()]}
        for run in runs:
            row = rows.get(run.key)
            if row is not None and row["digest"] == run.digest:
                yield run, row

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                yield
        except OSError as error:
            raise UserError(f"studies_dir: {self.folder} cannot be written: {error.strerror or error}") from error


def _extended(folder: Path, earlier: Sequence[PlannedRun], runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    if not earlier:
        return list(runs)
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
