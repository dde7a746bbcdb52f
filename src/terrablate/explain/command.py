"""What `explain.py` does: draw what is asked for, and an index for the page of the run."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terrablate.errors import UserError
from terrablate.explain.activations import activations
from terrablate.explain.channels import channels
from terrablate.explain.embedding import embedding
from terrablate.explain.filters import filters
from terrablate.explain.findings import Findings
from terrablate.explain.gradcam import grad_cam
from terrablate.explain.load import load_subject
from terrablate.explain.settings import Settings
from terrablate.explain.subject import Subject
from terrablate.random_streams import numpy_stream, stream_seed
from terrablate.training.record import write_whole

logger = logging.getLogger(__name__)

INDEX, REASONS = "index.json", "reasons.json"
METHODS = ("filters", "activations", "channels", "gradcam", "embedding")
"""In the order of the page."""


def explain_run(settings: Settings) -> list[str]:
    """Draw the pictures of a finished run, and say what was drawn and what could not be, a line each.

    `index.json` lists the pictures: `file`, `title`, `caption`, `method` and `weights` of each; `reasons.json` what
    there is none of: `method` and `reason`. Pictures of other methods that were drawn of the same weights stay.

    Raises:
        UserError: if the run cannot be explained, or the folder cannot be written.
    """
    subject = load_subject(settings)
    methods = [method for method in METHODS if method in settings.methods]
    found = {method: explained(subject, method, settings) for method in methods}
    folder = settings.pictures
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entries, reasons = _earlier(folder, subject.name, methods)
        lines = []
        for method, findings in found.items():
            for figure in findings.figures:
                write_whole(folder / figure.file, figure.draw)
                words = {"file": figure.file, "title": figure.title, "caption": figure.caption}
                entries.append({**words, "method": method, "weights": subject.name})
                lines.append(f"{folder / figure.file}: {figure.title}")
            reasons += [{"method": method, "reason": reason, "weights": subject.name} for reason in findings.reasons]
            lines += findings.reasons
        entries.sort(key=lambda entry: METHODS.index(entry["method"]))
        _write_json(folder / INDEX, entries)
        _write_json(folder / REASONS, reasons)
    except OSError as error:
        raise UserError(
            f"output={folder}: cannot be written: {error.strerror or error}; output=... is another"
        ) from error
    return lines


def explained(subject: Subject, method: str, settings: Settings) -> Findings:
    """What one method gives."""
    draws = numpy_stream(settings.seed, f"explain/{method}")
    match method:
        case "filters":
            return filters(subject)
        case "activations":
            return activations(subject, settings.channels, draws)
        case "channels":
            return channels(subject, settings.channels)
        case "gradcam":
            return grad_cam(subject, settings.images, settings.layer, draws)
        case "embedding":
            return embedding(subject, stream_seed(settings.seed, "explain/embedding") % 2**31)
    raise ValueError(f"unknown method {method}")


def _earlier(folder: Path, name: str, methods: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Entries of earlier calls that still hold; the pictures of the others are removed."""
    entries, reasons = _read(folder / INDEX), _read(folder / REASONS)
    kept = [entry for entry in entries if entry["weights"] == name and entry["method"] not in methods]
    for entry in entries:
        if entry not in kept:
            (folder / Path(entry["file"]).name).unlink(missing_ok=True)
    return kept, [each for each in reasons if each["weights"] == name and each["method"] not in methods]


def _read(path: Path) -> list[dict[str, Any]]:
    """An index of ours; an empty one where it is damaged or of somebody else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [entry for entry in content if {"method", "weights"} <= entry.keys() and entry["method"] in METHODS]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, AttributeError):
        logger.warning("%s is damaged and is written anew", path)
        return []


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
