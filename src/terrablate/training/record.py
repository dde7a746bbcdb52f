"""The record of a run on disk: its folder, claimed by one process at a time, and files that are whole or not there."""

import csv
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from terrablate.training import claim

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

FINISHED = ("complete", "diverged")
"""Statuses of a run that is not trained again: a diverged run is an observation, too."""

type Row = dict[str, float | int | None]


class Record:
    """A run's folder.

    Args:
        folder: where the record is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._claim: claim.Claim | None = None

    @property
    def last_checkpoint(self) -> Path:
        """Everything that resuming needs; after completion the last weights alone."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The weights of the best epoch."""
        return self.folder / "checkpoints" / "best.ckpt"

    def result(self) -> dict[str, Any] | None:
        """`result.json`; None if the run has not ended, or the file is damaged (which is logged)."""
        try:
            content = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError):
            logger.warning("%s is damaged and does not count", self.folder / "result.json")
            return None
        return content if isinstance(content, dict) else None

    def origin(self) -> dict[str, Any] | None:
        """`run.json`, written when the run began: its identity and code identity."""
        try:
            return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None

    def finished(self) -> bool:
        """Whether the run has ended with a result that stands."""
        result = self.result()
        return result is not None and result.get("status") in FINISHED

    @contextmanager
    def claim(self) -> "Iterator[None]":
        """Hold the run for this process; a killed process gives it up by itself.

        Raises:
            Busy: if another process holds it.
            UserError: if the folder cannot be written.
        """
        with claim.Claim(self.folder) as self._claim:
            try:
                yield
            finally:
                self._claim = None

    def check_claim(self) -> None:
        """End a run that another process has taken over, as far as the heartbeat has noticed; costs nothing.

        Raises:
            Busy: if it was.
        """
        if self._claim is not None:
            self._claim.check()

    def _check_claim_now(self) -> None:
        """Before each write: two processes never write one record."""
        if self._claim is not None:
            self._claim.beat()
            self._claim.check()

    def drop_checkpoints(self, keep: Literal["both", "best", "last", "none"]) -> None:
        """Remove those of a finished run that a study does not keep."""
        if keep not in ("both", "best"):
            self.best_checkpoint.unlink(missing_ok=True)
        if keep not in ("both", "last"):
            self.last_checkpoint.unlink(missing_ok=True)

    def archive(self) -> None:
        """Move what stands in the folder to `archive/<n>`, to make room for a new record."""
        self._check_claim_now()
        entries = [entry for entry in self.folder.iterdir() if entry.name not in ("archive", claim.NAME)]
        if not entries:
            return
        archive = self.folder / "archive"
        archive.mkdir(exist_ok=True)
        numbers = [int(entry.name) for entry in archive.iterdir() if entry.name.isdigit()]
        target = archive / str(max(numbers, default=0) + 1)
        target.mkdir()
        # the result goes first: were this cut off, what is left must not look finished
        for entry in sorted(entries, key=lambda entry: entry.name != "result.json"):
            shutil.move(entry, target / entry.name)
        logger.info("the earlier record is kept in %s", target)

    def write(self, name: str, write: Callable[[IO[bytes]], object]) -> Path:
        """Write a file so that it is there whole, or as it was before."""
        self._check_claim_now()
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
        return path

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file, whole or not at all."""
        return self.write(name, lambda file: file.write(text.encode()))

    def write_json(self, name: str, content: Any) -> Path:
        """Write a JSON file, whole or not at all; numbers that are not finite become null."""
        return self.write_text(name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write `metrics.csv` anew: after resuming, it must hold the epochs of the checkpoint and no more."""
        self.write_text("metrics.csv", _csv(rows, header=True))

    def append_metrics(self, row: Row) -> None:
        """Add an epoch to `metrics.csv`."""
        self._check_claim_now()
        path = self.folder / "metrics.csv"
        header = not path.exists() or path.stat().st_size == 0
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(_csv([row], header=header))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file aside and rename it, so that it is there whole, or as it was before; one writer at a time."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _csv(rows: Sequence[Row], *, header: bool) -> str:
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return buffer.getvalue()


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if abs(content) != float("inf") and content == content else None
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content
