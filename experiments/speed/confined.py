"""Runs a command as a child, looks at its memory, and may let it have only so much RAM, page cache included."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MIB = 2**20


@dataclass(frozen=True)
class Watched:
    """What was seen of a child."""

    own: float
    """MiB, at most, that belonged to it alone: not the pages of mapped files."""
    reclaimed: bool
    """Whether it met the limit, so that the kernel took pages back."""


class NotAllowedError(Exception):
    """This process may not limit the memory of its children."""


def watch(command: Sequence[str], mebibytes: int | None = None) -> Watched:
    """Run a command to its end.

    Args:
        command: it, with its words.
        mebibytes: of RAM that it has, in a control group of Linux; None for all.

    Raises:
        NotAllowedError: where no control group can be made; root may.
        RuntimeError: if the command fails.
    """
    limited = _group(mebibytes) if mebibytes else contextlib.nullcontext()
    with limited as group, tempfile.TemporaryFile("w+") as said:
        # a shell enters the group, and becomes the command
        entered = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.folder / "cgroup.procs")] if group else []
        with subprocess.Popen([*entered, *command], stdout=said, stderr=subprocess.STDOUT) as child:
            own = 0.0
            while child.poll() is None:
                own = max(own, _own(child.pid))
                time.sleep(0.05)
        if child.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{said.read()[-3000:]}")
        return Watched(own, group.was_full() if group else False)


def forget(file: Path) -> None:
    """Take a file out of the page cache, so that whoever reads it next pays for its pages."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _own(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


@dataclass(frozen=True)
class _Group:
    """A control group, of version 1 or 2."""

    folder: Path
    is_second: bool

    def was_full(self) -> bool:
        """Whether the limit was met."""
        if not self.is_second:
            return int((self.folder / "memory.failcnt").read_text(encoding="ascii")) > 0
        events = (self.folder / "memory.events").read_text(encoding="ascii").split()
        return int(events[events.index("max") + 1]) > 0


@contextlib.contextmanager
def _group(mebibytes: int) -> Iterator[_Group]:
    is_second = (_GROUPS / "cgroup.controllers").is_file()
    folder = (_GROUPS if is_second else _GROUPS / "memory") / f"terrablate-{os.getpid()}"
    limit = "memory.max" if is_second else "memory.limit_in_bytes"
    try:
        folder.mkdir()
    except OSError as error:
        raise NotAllowedError(f"no control group can be made at {folder}: {error.strerror}") from error
    try:
        try:
            (folder / limit).write_text(str(mebibytes * _MIB), encoding="ascii")
        except OSError as error:
            raise NotAllowedError(f"{folder / limit} cannot be set: {error.strerror}") from error
        yield _Group(folder, is_second)
    finally:
        folder.rmdir()
