"""The files of a run's record that an answer reads; each damaged one is named, and the others count."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


class RunFiles:
    """A run's folder.

    Args:
        folder: of the record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def result(self) -> dict[str, Any] | None:
        """`result.json`; None where it is not there or damaged."""
        try:
            content = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def result_is_whole(self) -> bool:
        """Whether `result.json` is there with an end that counts."""
        return (self.result() or {}).get("status") in ("complete", "diverged")

    def config(self, problems: list[str]) -> dict[str, Any]:
        """`config.yaml`; empty where it is not there."""
        file = self.folder / "config.yaml"
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
        except FileNotFoundError:
            return {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            content = None
        if not isinstance(content, dict):
            problems.append(f"{self.folder.name}/config.yaml: is damaged, and is left out")
            return {}
        return content

    def steps(self, problems: list[str]) -> float | None:
        """How often the optimizer stepped: `step` of the last row of `metrics.csv`."""
        file = self.folder / "metrics.csv"
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            return float(rows[-1]["step"]) if rows else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, UnicodeDecodeError, csv.Error):
            problems.append(f"{self.folder.name}/metrics.csv: is damaged; its optimizer steps are not known")
            return None

    def test(self, problems: list[str]) -> dict[str, float]:
        """Figures of the test split as `test.accuracy`, where `test.json` says that it was opened."""
        file = self.folder / "test.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            problems.append(f"{self.folder.name}/test.json: is damaged, and is left out")
            return {}
        return {
            f"test.{key}": float(value)
            for key, value in content.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def find_folder(written: str, study: Path) -> Path | None:
    """Where a run's record is, though the study's folder may have been moved with its runs beside it.

    Args:
        written: cell `folder` of `runs.csv`; absolute, or relative to a folder above the study's.
        study: the study's folder.
    """
    if not written:
        return None
    return next((place.resolve() for place in _places(Path(written), study) if place.is_dir()), None)


def _places(path: Path, study: Path) -> Iterator[Path]:
    if path.is_absolute():
        yield path
    else:
        yield from (above / path for above in (study, *study.parents))
    yield from (above / "runs" / path.name for above in (study, *list(study.parents)[:3]))
    yield study.parent / path.name


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
