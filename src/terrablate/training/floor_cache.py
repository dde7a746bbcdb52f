"""What the classical floor keeps beside a pack: statistics of its images, and results; shared by all processes."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from terrablate.data.band_statistics import VERSION
from terrablate.data.source import Split
from terrablate.data.subsets import Indices
from terrablate.training.record import write_whole

logger = logging.getLogger(__name__)

_PATIENCE = 600.0  # seconds to wait for another process that computes a floor; then compute one's own

type Array = npt.NDArray[np.float64]


class FloorCache:
    """The files of a floor in a pack's folder: `floor.json`, and `<split>_band_statistics_v<n>.npy`.

    Reading needs no lock, since files are replaced whole. What is damaged counts as absent.

    Args:
        folder: of the pack; may be read-only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Keep other processes from computing the same; gives whether that worked, and something can be kept."""
        lock = FileLock(self._folder / ".floor.lock")
        try:
            lock.acquire(timeout=_PATIENCE)
        except OSError as error:  # Timeout is one, too
            logger.info("the classical floor is computed without being kept beside the pack: %s", error)
            held = False
        else:
            held = True
        try:
            yield held
        finally:
            if held:
                lock.release()

    def result(self, key: str) -> dict[str, Any] | None:
        """The result that was kept under this key."""
        return self._results().get(key)

    def keep_result(self, key: str, result: Mapping[str, Any]) -> None:
        """Add a result; to be called under the lock."""
        content = json.dumps(self._results() | {key: result}, indent=1) + "\n"
        self._keep("floor.json", lambda file: file.write(content.encode()))

    def statistics(self, split: Split, rows: Indices, compute: Callable[[Indices], Array]) -> Array:
        """Statistics of some images of a split, n,F; computes and keeps those that are missing; under the lock.

        Args:
            split: of the pack.
            rows: of the split, n.
            compute: gives m,F for m rows.
        """
        name = f"{split}_band_statistics_v{VERSION}.npy"
        kept = self._rows(name)
        missing = np.setdiff1d(rows, kept["row"]) if kept is not None else np.unique(rows)
        if kept is None or len(missing):
            computed = compute(missing)
            fresh = np.empty(len(missing), dtype=[("row", "<i8"), ("statistics", "<f8", (computed.shape[1],))])
            fresh["row"], fresh["statistics"] = missing, computed
            whole = fresh if kept is None else np.concatenate([kept, fresh])
            kept = whole[np.argsort(whole["row"])]
            self._keep(name, lambda file: np.save(file, kept))
        return kept["statistics"][np.searchsorted(kept["row"], rows)]

    def _results(self) -> dict[str, Any]:
        try:
            content = json.loads((self._folder / "floor.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # a JSON or UTF-8 error is a ValueError
            return {}
        return content if isinstance(content, dict) else {}

    def _rows(self, name: str) -> npt.NDArray[Any] | None:
        try:
            return np.load(self._folder / name)
        except (OSError, ValueError, EOFError):
            return None

    def _keep(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        try:
            write_whole(self._folder / name, write)
        except OSError as error:
            logger.warning("%s cannot be kept beside the pack: %s", name, error.strerror or error)
