"""The register of a test split: a line in `test_openings.csv` each time it is opened, before an image is read.

Other data that runs are transferred to have a register of their own, `transfer_openings.csv`.
"""

import csv
import getpass
import io
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from terrablate.errors import UserError

logger = logging.getLogger(__name__)

FILE, TRANSFERS = "test_openings.csv", "transfer_openings.csv"


@dataclass(frozen=True)
class Opening:
    """One line."""

    time: str
    """ISO 8601, UTC."""
    study: str
    """Its name; empty for a single run."""
    runs: str
    """Ids of the runs, with semicolons in between."""
    data: str
    """Name of the dataset."""
    split: str
    options: str
    """Beside the plain figures, such as `tta=true`."""
    who: str
    """user@host"""
    commit: str
    """Of the code that evaluates."""
    count: int
    """How often this split of these data was opened for these runs, this time included."""


COLUMNS = tuple(field.name for field in fields(Opening))


def openings(folder: Path, file: str = FILE) -> list[Opening]:
    """The register of a study or of a run; empty where there is none.

    Raises:
        UserError: if it is damaged, since nobody can tell then how often the split was opened.
    """
    path = folder / file
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        if text and (not text.endswith("\n") or text.split("\n", 1)[0].strip() != ",".join(COLUMNS)):
            raise ValueError("it is cut off, or its header is another")
        return [_opening(row) for row in rows]
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: is damaged, so that nobody can tell how often the images were looked at; repair it by hand: a"
            f" line an opening, below the header {','.join(COLUMNS)}"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_opening(
    path: Path, *, study: str, runs: Sequence[str], data: str, split: str, options: str, known: int, commit: str
) -> Opening:
    """Write an opening down, on the disk itself, before it takes place.

    Args:
        path: of the register, in the folder of the study or of the run.
        study: its name; empty for a single run.
        runs: ids.
        data: name of the dataset.
        split: of it.
        options: besides the plain figures.
        known: how often the runs say that this was opened before, for registers that were lost or are elsewhere.
        commit: of the code.

    Raises:
        UserError: if the register is damaged or cannot be written; then nothing may be opened.
    """
    try:
        with FileLock(path.with_name(f".{path.name}.lock")):
            earlier = [
                each.count for each in openings(path.parent, path.name) if (each.data, each.split) == (data, split)
            ]
            opening = Opening(
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                study=study,
                runs=";".join(runs),
                data=data,
                split=split,
                options=options,
                who=f"{_user()}@{socket.gethostname()}",
                commit=commit,
                count=1 + max([known, len(earlier), *earlier]),
            )
            _append(path, opening)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}), and what is not written down is not opened"
        ) from error
    return opening


def opened_elsewhere(register: Path, data: str, split: str) -> dict[str, int]:
    """How often the other studies beside a study have opened the same split, by their names; of those that have.

    Args:
        register: of the study.
        data: name of the dataset.
        split: of it.
    """
    found = {}
    folder = register.resolve().parent
    for path in sorted(folder.parent.glob(f"*/{register.name}")):
        if path.parent == folder:
            continue
        try:
            counts = [
                each.count for each in openings(path.parent, path.name) if (each.data, each.split) == (data, split)
            ]
        except UserError as error:
            logger.warning("%s", error)
            continue
        if counts:
            found[path.parent.name] = max(counts)
    return found


def _append(path: Path, opening: Opening) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    writer.writerow(asdict(opening))
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a new file may be lost with its folder's entry
    finally:
        os.close(folder)


def _opening(row: Mapping[str, Any]) -> Opening:
    """A line of the register. Raises `ValueError` or `TypeError` if it has other columns, or no count."""
    if None in row.values() or not row["count"].isdecimal():
        raise ValueError("a line is cut off, or its count is no whole number")
    return Opening(**{**row, "count": int(row["count"])})


def _user() -> str:
    """Of this process; some containers have none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
