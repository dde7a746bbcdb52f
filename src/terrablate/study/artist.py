"""Draws the pictures of finished runs in a thread, while workers train the next ones. Imports no torch."""

import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from terrablate.training.pictures import draw_of


class Artist:
    """A context manager that has drawn everything when it ends; after `stop`, what it had begun.

    What is not drawn is kept in the record, and drawn by the next command that finds the run done.
    """

    def __init__(self) -> None:
        self._folders: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="artist", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()
        self._folders.put(None)
        self._thread.join()

    def draw(self, folder: Path) -> None:
        """Draw what the record in a folder has kept, if anything, as soon as the earlier ones are drawn."""
        self._folders.put(folder)

    def stop(self) -> None:
        """Begin no further record."""
        self._stopped.set()

    @property
    def left(self) -> int:
        """Records that are not begun."""
        return self._folders.qsize()

    def _work(self) -> None:
        while (folder := self._folders.get()) is not None:
            if not self._stopped.is_set():
                draw_of(folder)
