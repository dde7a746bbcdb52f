"""Signals that wake a loop which waits, instead of breaking into it."""

import contextlib
import os
import selectors
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def signals_to(selector: selectors.BaseSelector) -> Iterator[list[int]]:
    """SIGINT and SIGTERM go to a list, and wake the selector; in a thread, where Python takes none, nothing changes."""
    taken: list[int] = []
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)

    def take(number: int, _: object) -> None:
        taken.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b"!")

    before = {}
    with contextlib.suppress(ValueError):
        before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    selector.register(reader, selectors.EVENT_READ)
    try:
        yield taken
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
