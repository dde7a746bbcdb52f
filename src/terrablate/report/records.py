"""The files of a run's record, read so that a damaged one costs itself only; imports no torch."""

import csv
import io
import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]

_NOT_CURVES = ("epoch", "step", "lr", "images_per_second", "seconds")


@dataclass(frozen=True)
class Predictions:
    """Of the val images, under one epoch's weights."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    """N, or N,K of zeros and ones."""
    probabilities: Floats
    """N,K; of a softmax, or of a sigmoid where an image has several labels."""

    @property
    def several(self) -> bool:
        """Whether an image has several labels."""
        return self.labels.ndim == 2


@dataclass
class Records:
    """Reads records and notes what could not be read.

    A file that is not there is None without a word: a study need not have it.
    """

    problems: list[str] = field(default_factory=list)

    def result(self, folder: Path) -> dict[str, Any]:
        """`result.json`; empty where there is none."""
        return self._mapping(folder / "result.json") or {}

    def robustness(self, folder: Path) -> dict[str, Any] | None:
        """`robustness.json`."""
        return self._mapping(folder / "robustness.json")

    def curves(self, folder: Path) -> dict[str, list[float | None]]:
        """`metrics.csv` by column, at the epochs that were evaluated; numbers that are not finite are None.

        `epoch` is one of the columns; throughput and the like are left out.
        """
        text = self._text(folder / "metrics.csv")
        if not text:
            return {}
        rows = list(csv.reader(io.StringIO(text, newline="")))
        header = rows[0]
        if len(rows[-1]) < len(header) and len(rows) > 1:
            rows.pop()  # is being written
        chosen = [(place, name) for place, name in enumerate(header) if name == "epoch" or name not in _NOT_CURVES]
        measured = [place for place, name in chosen if name.endswith(("/val", "/probe"))]
        try:
            kept = [row for row in rows[1:] if any(row[place] for place in measured)]
            found = {name: [_number(row[place]) for row in kept] for place, name in chosen}
        except (ValueError, IndexError):
            self._damaged(folder / "metrics.csv")
            return {}
        if "epoch" not in found:
            self._damaged(folder / "metrics.csv")
            return {}
        return found

    def predictions(self, folder: Path, which: str) -> Predictions | None:
        """`val_predictions.npz` under the weights of the best or the last epoch; None where they are not finite."""
        path = folder / "val_predictions.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if f"logits_{which}" not in arrays:
                    return None
                ids = tuple(arrays["ids"].tolist())
                labels = arrays["labels"].astype(np.int64)
                logits = arrays[f"logits_{which}"].astype(np.float64)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            self._damaged(path)
            return None
        if len(ids) != len(labels) or logits.ndim != 2 or len(logits) != len(labels):
            self._damaged(path)
            return None
        if not np.isfinite(logits).all():
            return None
        return Predictions(
            ids, labels, _softmax(logits) if labels.ndim == 1 else 1 / (1 + np.exp(-logits.clip(-500, 500)))
        )

    def worst(self, folder: Path) -> list[dict[str, Any]]:
        """`worst/index.json`, the items whose picture is there."""
        content = self._json(folder / "worst" / "index.json")
        if not isinstance(content, list):
            return []
        return [
            item
            for item in content
            if isinstance(item, dict) and _is_inside(folder, item.get("file")) and isinstance(item.get("id"), str)
        ]

    def explained(self, folder: Path) -> list[dict[str, str]]:
        """`explain/index.json`, the pictures that are there: `file` (from the folder), `title`, `caption`."""
        content = self._json(folder / "explain" / "index.json")
        found = []
        for item in content if isinstance(content, list) else []:
            name = item.get("file") if isinstance(item, dict) else None
            file = next((f for f in (f"explain/{name}", name) if name and _is_inside(folder, f)), None)
            if file is not None:
                words = {key: str(item.get(key) or "") for key in ("title", "caption")}
                found.append({"file": str(file), **words})
        return found

    def unexplained(self, folder: Path) -> list[str]:
        """`explain/reasons.json`: what this network cannot show, and why."""
        content = self._json(folder / "explain" / "reasons.json")
        items = content if isinstance(content, list) else []
        return [str(item["reason"]) for item in items if isinstance(item, dict) and item.get("reason")]

    def suspects(self, folder: Path) -> list[dict[str, str]]:
        """`suspects.csv`: `id`, `given`, `suggested`, `score`."""
        text = self._text(folder / "suspects.csv")
        rows = list(csv.DictReader(io.StringIO(text or "", newline="")))
        if rows and not {"id", "given", "suggested"} <= rows[0].keys():
            self._damaged(folder / "suspects.csv")
            return []
        return [{key: value or "" for key, value in row.items() if key is not None} for row in rows]

    def table(self, path: Path) -> list[dict[str, str]]:
        """A CSV file with a header; empty where there is none."""
        text = self._text(path)
        return [
            {key: value or "" for key, value in row.items() if key is not None}
            for row in csv.DictReader(io.StringIO(text or "", newline=""))
        ]

    def _mapping(self, path: Path) -> dict[str, Any] | None:
        content = self._json(path)
        return content if isinstance(content, dict) else None

    def _json(self, path: Path) -> Any:
        text = self._text(path)
        if text is None:
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            self._damaged(path)
            return None

    def _text(self, path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError):
            self._damaged(path)
            return None

    def _damaged(self, path: Path) -> None:
        sentence = f"{path.parent.name}/{path.name} is damaged and was left out"
        if sentence not in self.problems:
            self.problems.append(sentence)


def _is_inside(folder: Path, name: Any) -> bool:
    """Whether a name of an index is a file of this folder, and of no other."""
    return isinstance(name, str) and ".." not in Path(name).parts and (folder / name).is_file() and name[:1] != "/"


def _number(cell: str) -> float | None:
    if not cell:
        return None
    value = float(cell)
    return value if math.isfinite(value) else None


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
