"""What `report.py` is told; imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.parse import typed, values_of
from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Positive
from terrablate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig

Name = Annotated[str | int | float | None, Field(description="a name or a folder")]
"""Names that look like numbers reach us as numbers."""


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class StudyName:
    """Which study."""

    name: Name


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Settings:
    """The command's keys."""

    study: StudyName
    runs: Annotated[str | list[str] | None, Field(description="a folder, a pattern, or a list of them")]
    run: Annotated[str | None, Field(description="the folder of a run")]
    output: Annotated[str | None, Field(description="a folder")]
    watch: Bool
    every: Positive
    wandb: Annotated[str | None, Field(pattern=r"^[^/]+/[^/]+$", description="entity/project, as W&B calls them")]
    studies_dir: str


def with_study_named(words: Sequence[str]) -> list[str]:
    """`study=x` as Hydra has to be told it: `study` is a config group as well, and a study need not be a choice."""
    return [f"study.name={word.removeprefix('study=')}" if word.startswith("study=") else word for word in words]


def settings_of(composed: "DictConfig") -> Settings:
    """The typed config.

    Raises:
        ConfigError: names each wrong key, what was given and what is allowed.
    """
    settings = typed(Settings, values_of(composed))
    given = [key for key in ("study", "runs", "run") if _is_given(settings, key)]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise ConfigError(f"study, runs, run: give one of study=NAME, runs=FOLDER and run=FOLDER; {found} was given")
    if settings.wandb is not None and settings.study.name is None:
        raise ConfigError(f"wandb={settings.wandb}: a workspace is of a study; give study=NAME")
    return settings


def _is_given(settings: Settings, key: str) -> bool:
    return (settings.study.name if key == "study" else getattr(settings, key)) is not None


def study_folder(settings: Settings) -> Path:
    """The folder of the study that is asked for.

    Raises:
        DataError: if there is none; names those that there are.
    """
    name, base = str(settings.study.name), Path(settings.studies_dir)
    for folder in (base / name, Path(name)):
        if (folder / "study.yaml").is_file():
            return folder
    known = sorted(file.parent.name for file in base.glob("*/study.yaml")) if base.is_dir() else []
    there = f"there are {', '.join(known)}" if known else "there is none"
    if (base / name).is_dir():
        there = f"its folder is there, without study.yaml: it has not been started; {there}"
    raise DataError(f"study={name}: no such study in {base}; {there}")


def run_folders(settings: Settings) -> list[Path]:
    """Folders of the runs that are asked for: themselves, or what lies in the folders that are given.

    Raises:
        DataError: if there are none.
    """
    given = [settings.runs] if isinstance(settings.runs, str) else list(settings.runs or ())
    found: list[Path] = []
    for word in given:
        for place in [Path(word)] if Path(word).is_dir() else _matching(Path(word)):
            found += [place] if _is_run(place) else sorted(p for p in place.glob("*/") if _is_run(p))
    if not found:
        raise DataError(f"runs={settings.runs}: no run is there; a run's folder holds result.json")
    return list(dict.fromkeys(found))


def run_folder(settings: Settings) -> Path:
    """The folder of the one run that is asked for.

    Raises:
        DataError: if it is none.
    """
    folder = Path(str(settings.run))
    if not folder.is_dir():
        raise DataError(f"run={folder}: there is no such folder")
    if not _is_run(folder):
        what = "has not ended" if (folder / "run.json").is_file() else "holds no run"
        raise DataError(f"run={folder}: {what}; a finished run's folder holds result.json")
    return folder


def _matching(pattern: Path) -> list[Path]:
    """Folders that a pattern with * or ? stands for."""
    fixed = next((place for place, part in enumerate(pattern.parts) if set(part) & set("*?[")), len(pattern.parts))
    base, rest = Path(*pattern.parts[:fixed]), Path(*pattern.parts[fixed:])
    return sorted(base.glob(str(rest))) if fixed < len(pattern.parts) else []


def _is_run(folder: Path) -> bool:
    return (folder / "result.json").is_file()
