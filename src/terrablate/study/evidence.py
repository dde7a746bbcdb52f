"""What a study has found so far, read off its folder or off single runs: each planned run with its figures."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from terrablate.errors import UserError
from terrablate.study.run_files import RunFiles, find_folder

type Which = Literal["deployed", "best", "last"]

GRID = "grid"
"""Design of a sweep without a study: all combinations of what the command line gives."""


@dataclass(frozen=True)
class VariantOf:
    """What is compared.

    Args:
        name: unique.
        levels: of each factor.
    """

    name: str
    levels: Mapping[str, str]


@dataclass(frozen=True)
class RunOf:
    """One planned run, whether it has ended or not.

    Args:
        variant: its name.
        seed: of its random streams.
        status: complete, diverged, failed, died, timed_out, out_of_memory, refused, interrupted; `missing` if it has
            not ended, `corrupt` if its record is damaged.
        added: to the plan after runs had begun.
        reason: of its end, where it is not complete.
        folder: its record, where that is found.
        values: figures by column of `runs.csv`, such as `deployed.accuracy/val`; none that is not finite. `steps` is
            how often its optimizer stepped, `test.accuracy` and so on are of the test split where it was opened.
        texts: the other cells that are not empty.
        config: `config.yaml` of its record; empty where there is none.
    """

    variant: str
    seed: int
    status: str
    added: bool
    reason: str
    folder: Path | None
    values: Mapping[str, float]
    texts: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """A study, or runs without one.

    Args:
        name: of the study.
        question: as the study asks it; may be empty.
        design: one_at_a_time, leave_one_out, factorial, fractional, list, or grid.
        metric: the primary one, of val.
        which: prefix of the columns that it is read from.
        smallest_effect: of interest, in the unit of the metric; None where none was declared.
        variants: the baseline first.
        planned_seeds: those of the first plan, without seeds that were added.
        aliases: chains of effects that a fractional design cannot tell apart.
        runs: every planned run, in the order of the plan.
        problems: sentences that name what is damaged and was left out.
        overrides: of all runs, from the command line and the study.
        resolution: of a fractional design.
        folder: of the study.
    """

    name: str
    question: str
    design: str
    metric: str
    which: Which
    smallest_effect: float | None
    variants: tuple[VariantOf, ...]
    planned_seeds: tuple[int, ...]
    aliases: tuple[tuple[str, ...], ...]
    runs: tuple[RunOf, ...]
    problems: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    resolution: int | None = None
    folder: Path | None = None

    @property
    def baseline(self) -> VariantOf:
        """What the others are compared to."""
        return self.variants[0]

    @property
    def column(self) -> str:
        """Of the primary metric."""
        return f"{self.which}.{self.metric}/val"


def read_study(folder: Path) -> Evidence:
    """Read a study's folder, wherever it stands now; runs that are missing are missing runs, not an error.

    Raises:
        UserError: if the folder holds no study, or its definition or table is damaged as a whole.
    """
    folder = folder.resolve()
    definition = _definition(folder)
    problems: list[str] = []
    rows = list(_rows(folder / "runs.csv", problems))
    plan = _plan(folder / "plan.json", problems)
    if not plan:
        plan = [_planned_of(row) for row in rows]
    if not plan:
        raise UserError(f"{folder}: neither plan.json nor runs.csv names a run of this study")
    by_key = {(row["variant"], int(row["seed"])): row for row in rows}
    runs = tuple(_run(item, by_key.get((item["variant"], item["seed"])), folder, problems) for item in plan)
    levels = {str(item["variant"]): {str(k): str(v) for k, v in item["levels"].items()} for item in reversed(plan)}
    names = list(dict.fromkeys(str(item["variant"]) for item in plan))
    planned = [run.seed for run in runs if not run.added] or [run.seed for run in runs]
    deployed = str(definition.get("deployed") or "auto")
    is_grid = not definition.get("factors") and not definition.get("variants")
    return Evidence(
        name=str(definition.get("name") or folder.name),
        question=str(definition.get("question") or ""),
        design=GRID if is_grid else str(definition.get("design") or "list"),
        metric=str(definition.get("metric") or "accuracy"),
        which=deployed if deployed in ("best", "last") else "deployed",  # type: ignore[arg-type]
        smallest_effect=_positive(definition.get("smallest_effect"), problems),
        variants=tuple(VariantOf(name, levels[name]) for name in names),
        planned_seeds=tuple(dict.fromkeys(planned)),
        aliases=tuple(tuple(map(str, chain)) for chain in definition.get("aliases") or ()),
        runs=runs,
        problems=tuple(dict.fromkeys(problems)),
        overrides=tuple(map(str, definition.get("overrides") or ())),
        resolution=definition.get("resolution"),
        folder=folder,
    )


def _definition(folder: Path) -> dict[str, Any]:
    file = folder / "study.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder}: is no study's folder; it has no study.yaml") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is damaged; start the study's command again, which writes it anew") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: is damaged; start the study's command again, which writes it anew")
    return content


def _rows(file: Path, problems: list[str]) -> Iterator[dict[str, str]]:
    """The rows that are whole; the others are named."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.append(f"{file.name}: is not there, so that every run counts as missing")
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: cannot be read as a table; remove it, and the study's command makes it anew"
        ) from error
    try:
        reader = csv.DictReader(text.splitlines(), strict=True)
        if not {"variant", "seed", "status"} <= set(reader.fieldnames or ()):
            raise UserError(
                f"{file}: is damaged, its header lacks variant, seed or status; remove it, and the study's command"
                " makes it anew from the records of the runs"
            )
        for row in reader:
            if None in row or None in row.values() or not row["seed"].isdecimal():
                problems.append(f"{file.name}, line {reader.line_num}: the row is damaged and is left out")
                continue
            yield row
    except csv.Error as error:
        problems.append(f"{file.name}: is damaged ({error}); what stands after that is left out")


def _plan(file: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        items = json.loads(file.read_text(encoding="utf-8"))
        return [{**item, "seed": int(item["seed"]), "levels": dict(item["levels"])} for item in items]
    except FileNotFoundError:
        problems.append(f"{file.name}: is not there; the runs are those of runs.csv")
    except (OSError, ValueError, TypeError, KeyError):
        problems.append(f"{file.name}: is damaged; the runs are those of runs.csv")
    return []


def _planned_of(row: Mapping[str, str]) -> dict[str, Any]:
    levels = {key.removeprefix("level."): value for key, value in row.items() if key.startswith("level.")}
    return {
        "variant": row["variant"],
        "seed": int(row["seed"]),
        "levels": levels,
        "added": row.get("added") == "true",
        "digest": row.get("digest"),
    }


def _run(item: Mapping[str, Any], row: Mapping[str, str] | None, study: Path, problems: list[str]) -> RunOf:
    variant, seed, added = str(item["variant"]), int(item["seed"]), bool(item.get("added"))
    if row is None or row["status"] == "planned" or row.get("digest") not in (None, item.get("digest")):
        return RunOf(variant, seed, "missing", added, "it has not ended", None, {}, {})
    values, texts = split_cells(row)
    status, reason = row["status"], row.get("reason", "")
    folder = find_folder(row.get("folder", ""), study)
    config: Mapping[str, Any] = {}
    if folder is not None:
        files = RunFiles(folder)
        config = files.config(problems)
        if status in ("complete", "diverged") and not files.result_is_whole():
            problems.append(f"{folder.name}/result.json: is damaged; the run {variant} seed {seed} is left out")
            status, reason, values = "corrupt", "its result.json is damaged", {}
        else:
            values |= files.test(problems)
            if (steps := files.steps(problems)) is not None:
                values["steps"] = steps
    return RunOf(variant, seed, status, added, reason, folder, values, texts, config)


def split_cells(cells: Mapping[str, str]) -> tuple[dict[str, float], dict[str, str]]:
    """Cells that are finite numbers, and the others that are not empty; true and false are words."""
    values: dict[str, float] = {}
    texts: dict[str, str] = {}
    for name, cell in cells.items():
        if name in ("variant", "seed", "digest") or name.startswith(("level.", "provenance.")):
            number = math.nan  # a name or a hash may look like a number
        else:
            try:
                number = float(cell)
            except ValueError:
                number = math.nan
        if math.isfinite(number):
            values[name] = number
        elif cell and cell.lower() not in ("nan", "inf", "-inf"):
            texts[name] = cell
    return values, texts


def _positive(value: Any, problems: list[str]) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    problems.append(f"study.yaml: smallest_effect={value} is no number above 0, and is left out")
    return None


def read_runs(folders: Sequence[Path]) -> Evidence:
    """Runs without a study: each config, but for its seed, is a variant; the first folder's is the baseline.

    Raises:
        UserError: if none of the folders holds a finished run.
    """
    from terrablate.study.loose_runs import evidence_of

    return evidence_of([folder.resolve() for folder in folders])
