"""Which finished runs are evaluated: those of a study, or one; imports no torch."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from terrablate.config import messages
from terrablate.config.checks import run_folder
from terrablate.config.checks.data import check_data
from terrablate.config.schema import Config
from terrablate.errors import ConfigError, UserError
from terrablate.evaluation.settings import Settings
from terrablate.study.run_table import Row, RunTable, key_of
from terrablate.training.record import FINISHED, Record

_NAMED = 5
"""Runs that a message names at most."""


@dataclass(frozen=True)
class Subject:
    """A finished run whose weights can be evaluated."""

    variant: str
    """Of its study; of a single run its id."""
    seed: int
    record: Record
    config: Config
    result: dict[str, Any]
    which: Literal["best", "last"]
    """The weights that it answers for."""

    @property
    def name(self) -> str:
        """For a person."""
        run_id = self.record.folder.name
        return self.variant if self.variant == run_id else f"{self.variant}, seed {self.seed}"

    @property
    def checkpoint(self) -> Path:
        """File with these weights."""
        return self.record.best_checkpoint if self.which == "best" else self.record.last_checkpoint


@dataclass(frozen=True)
class LeftOut:
    """A planned run without weights that could be evaluated."""

    variant: str
    seed: int
    status: str
    reason: str


@dataclass(frozen=True)
class Subjects:
    """What is evaluated together."""

    name: str
    """Of the study, or of the run."""
    folder: Path
    """Of the study, or of the run: where the openings are written down."""
    is_study: bool
    metric: str
    """Of which a person is told first."""
    runs: tuple[Subject, ...]
    left_out: tuple[LeftOut, ...]


def subjects_of(settings: Settings) -> Subjects:
    """Find the runs that are asked for, and refuse early what cannot work.

    Raises:
        ConfigError: if there is no such study or run, or no member of an ensemble.
        UserError: if runs are missing and `allow_missing` is not set, or their weights are not there.
    """
    found = _of_study(settings) if settings.study_folder else _of_run(settings)
    if not found.runs:
        raise UserError(f"{found.folder}: no run has weights to evaluate: {_listed(found.left_out)}")
    for subject in found.runs:
        if not subject.checkpoint.is_file():
            raise UserError(
                f"{subject.checkpoint}: is not there, so that {subject.name} cannot be evaluated; study.keep removes"
                " checkpoints; force=true study.keep=both trains the run anew"
            )
    if settings.ensemble and not any(
        sum(other.variant == subject.variant for other in found.runs) > 1 for subject in found.runs
    ):
        raise ConfigError("ensemble=true: no variant has two finished seeds, and an ensemble needs two members")
    for data in {repr(subject.config.data): subject.config for subject in found.runs}.values():
        check_data(data)
    if settings.data is not None:
        config = dataclasses.replace(found.runs[0].config, data=settings.data)
        check_data(config)
    return found


def _of_run(settings: Settings) -> Subjects:
    assert settings.run is not None
    folder = run_folder(settings.runs_dir, settings.run)
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"run={settings.run}: there is no run in {folder}; give its folder, or its name in runs_dir")
    record = Record(folder)
    result = record.result()
    if result is None or result.get("status") not in FINISHED:
        status = f"its status is {result.get('status')}" if result else "it has no result"
        raise UserError(f"run={settings.run}: the run in {folder} has not finished ({status}); train it first")
    config = config_of(record, settings)
    which = (result.get("deployed") or {}).get("which", "last")
    subject = Subject(folder.resolve().name, config.seed, record, config, result, which)
    bad = _without_figures(subject)
    return Subjects(
        name=subject.variant,
        folder=folder,
        is_study=False,
        metric="average_precision_macro" if config.data.labels == "several" else "accuracy",
        runs=() if bad else (subject,),
        left_out=(bad,) if bad else (),
    )


def _of_study(settings: Settings) -> Subjects:
    folder = settings.study_folder
    assert folder is not None
    if not (folder / "plan.json").is_file():
        there = sorted(path.parent.name for path in Path(settings.studies_dir).glob("*/plan.json"))
        known = f"studies there: {', '.join(there)}" if there else "there is no study"
        raise ConfigError(f"study={settings.study.name}: there is no study in {folder}; {known}")
    definition = _definition(folder)
    table = RunTable(folder / "plan.json", folder / "runs.csv")
    rows = {key_of(row): row for row in table.rows()}
    runs: list[Subject] = []
    left_out: list[LeftOut] = []
    missing: list[LeftOut] = []
    for planned in table.planned():
        found = _subject(rows.get(planned.key), planned.variant, planned.seed, definition, settings, folder)
        if isinstance(found, LeftOut):
            (left_out if found.status in FINISHED else missing).append(found)
        elif bad := _without_figures(found):
            left_out.append(bad)
        else:
            runs.append(found)
    if missing and settings.opens and not settings.allow_missing:
        total = len(runs) + len(left_out) + len(missing)
        raise UserError(
            f"study={settings.study.name}: {len(missing)} of {total} planned runs have no finished record:"
            f" {_listed(missing)}; finish the study first, or set allow_missing=true"
        )
    return Subjects(
        name=str(definition.get("name") or folder.name),
        folder=folder,
        is_study=True,
        metric=str(definition.get("metric") or "accuracy"),
        runs=tuple(runs),
        left_out=(*left_out, *missing),
    )


def _definition(folder: Path) -> dict[str, Any]:
    path = folder / "study.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read; the same study started anew writes it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is damaged; the same study started anew writes it again")
    return content


def _subject(
    row: Row | None, variant: str, seed: int, definition: dict[str, Any], settings: Settings, study: Path
) -> Subject | LeftOut:
    """A planned run as far as its record is there."""
    if row is None or not row["folder"]:
        reason = (row or {}).get("reason") or "it was not trained"
        return LeftOut(variant, seed, row["status"] if row else "planned", reason)
    folder = _moved(Path(row["folder"]), study, Path(settings.runs_dir))
    if folder is None:
        return LeftOut(variant, seed, "missing", f"there is no record in {row['folder']}")
    record = Record(folder)
    result = record.result()
    if result is None or result.get("status") not in FINISHED:
        return LeftOut(variant, seed, "missing" if result is None else str(result["status"]), f"see {folder}")
    try:
        config = config_of(record, settings)
    except ConfigError:  # of what was told anew, which concerns all runs
        raise
    except UserError as error:
        return LeftOut(variant, seed, "damaged", str(error))
    declared = definition.get("deployed") or "auto"
    answers = (result.get("deployed") or {}).get("which") if declared == "auto" else declared
    return Subject(variant, seed, record, config, result, "best" if answers == "best" else "last")


def _moved(folder: Path, study: Path, runs_dir: Path) -> Path | None:
    """A run's folder where the table says, else where it would be after study and runs were moved together."""
    root = study.resolve().parent.parent
    for candidate in (folder, root / folder, root / "runs" / folder.name, runs_dir / folder.name):
        if (candidate / "config.yaml").is_file():
            return candidate
    return None


def _without_figures(subject: Subject) -> LeftOut | None:
    """Of a run whose weights give no finite numbers: it is finished, and there is nothing to evaluate."""
    scores = subject.result.get(subject.which)
    if scores is not None and scores.get("nll/val") is not None:
        return None
    sentence = (subject.result.get("overfitting") or {}).get("sentence") or "its weights give no finite numbers"
    return LeftOut(subject.variant, subject.seed, str(subject.result["status"]), sentence)


def config_of(record: Record, settings: Settings) -> Config:
    """The config of a run as its record has it, its data where they are now.

    Raises:
        UserError: if the file is damaged or of another version.
        ConfigError: if the data cannot be told anew like that.
    """
    path = record.folder / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = TypeAdapter(Config).validate_python(values)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path}: is damaged, or of another version; force=true trains the run anew") from error
    values |= {"packs_dir": settings.packs_dir, "runs_dir": settings.runs_dir}
    values["data"] |= {key: value for key, value in settings.moved.items() if key != "test_list"}
    try:
        config = TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        raise ConfigError(messages.of_validation(error, values)) from error
    return config


def _listed(runs: list[LeftOut] | tuple[LeftOut, ...]) -> str:
    few = [f"{run.variant} with seed {run.seed} ({run.status}: {run.reason})" for run in runs[:_NAMED]]
    return ", ".join(few) + (f", and {len(runs) - _NAMED} more" if len(runs) > _NAMED else "")
