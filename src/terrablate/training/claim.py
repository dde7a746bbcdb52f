"""Who trains a run: a claim in its folder that one process holds, also among machines that share a file system.

The claim is the folder `claim` with one file, named after the holder's token. Both steps of a takeover are conditional
by themselves, which they would not be with a single file: unlinking `<token>.json` succeeds for one process only and
cannot touch a newer claim, and renaming a prepared folder onto `claim` succeeds only where that is absent or empty.
The file's time is refreshed by a thread. Who finds a claim compares that time with the one of the file it has just
written itself, so that clocks need not agree.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from terrablate.errors import Busy, UserError

NAME = "claim"
"""Of the folder in the run's folder."""
BEAT_SECONDS = 5.0
"""Between two signs of life."""
STALE_SECONDS = 60.0
"""Without a sign of life before another machine may take the run over; on the same one, processes are looked up."""

REPORT = "TERRABLATE_RUN_FOLDER_FILE"
"""Environment variable: a file that gets the run's folder before a claim is taken, for who started this process."""


@dataclass(frozen=True)
class Owner:
    """A process, as its claim names it."""

    host: str
    machine: str
    """Where process ids mean the same: boot and process namespace."""
    pid: int
    started: str | None
    """In the kernel's clock ticks; tells the process from a later one of the same id."""
    token: str

    @classmethod
    def this(cls) -> "Owner":
        """This process, with a token of its own."""
        pid = os.getpid()
        return cls(socket.gethostname(), _machine(), pid, _start_of(pid), secrets.token_hex(8))

    def dead(self) -> bool | None:
        """Whether the process is gone; None if it is not of this machine."""
        if self.machine != _machine():
            return None
        if self.started is not None:
            return _start_of(self.pid) != self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Claim:
    """Holds a run's folder as a context manager; a killed process gives it up by being dead.

    Args:
        folder: of the run; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place = folder / NAME
        self._owner = Owner.this()
        self._mine = self._place / f"{self._owner.token}.json"
        self._released = threading.Event()
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether the last sign of life found that the claim is another's."""
        return self._lost

    def beat(self) -> None:
        """Give a sign of life, and find out whether the claim is still ours."""
        try:
            os.utime(self._mine)
        except FileNotFoundError:
            self._lost = True
        except OSError:  # a network file system that does not answer for a while; the next beat tells
            return

    def check(self) -> None:
        """End a run that is not ours any more.

        Raises:
            Busy: if another process has taken it over.
        """
        if self._lost:
            raise Busy(
                f"{self.folder}: another process has taken this run over, because this one gave no sign of life for "
                f"{STALE_SECONDS:.0f} s; it ends here"
            )

    def __enter__(self) -> Self:
        if os.environ.get(REPORT):
            Path(os.environ[REPORT]).write_text(str(self.folder), encoding="utf-8")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take()
        except OSError as error:
            raise UserError(f"runs_dir: {self.folder} cannot be written: {error.strerror or error}") from error
        threading.Thread(target=self._keep, name="claim", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        with contextlib.suppress(OSError):
            self._mine.unlink()
        with contextlib.suppress(OSError):  # another process has it by now, or the folder is gone
            self._place.rmdir()

    def _keep(self) -> None:
        while not self._lost and not self._released.wait(BEAT_SECONDS):
            self.beat()

    def _take(self) -> None:
        while True:
            prepared = self._prepare()
            try:
                prepared.rename(self._place)
            except OSError as error:
                if error.errno == errno.ENOENT:  # swept away by a process that has just got the claim
                    continue
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                self._clear(_changed(prepared / self._mine.name))
            else:
                if self._mine.is_file():
                    break
            finally:
                shutil.rmtree(prepared, ignore_errors=True)
        for left in self.folder.glob(f".{NAME}.*"):  # of processes that were killed a moment before
            shutil.rmtree(left, ignore_errors=True)

    def _prepare(self) -> Path:
        prepared = self.folder / f".{NAME}.{self._owner.token}"
        prepared.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # swept away; the renaming will tell
            (prepared / self._mine.name).write_text(json.dumps(asdict(self._owner)) + "\n", encoding="utf-8")
        return prepared

    def _clear(self, now: float) -> None:
        """Remove the claim of a holder that is gone.

        Raises:
            Busy: if it is not gone.
        """
        try:
            held = list(self._place.iterdir())
        except FileNotFoundError:
            return
        for file in held:
            owner = _read(file)
            if _alive(file, owner, now):
                who = f" (process {owner.pid} on {owner.host})" if owner else ""
                raise Busy(f"{self.folder}: another process is training this run{who}; wait for it, or stop it")
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # where a file system renames onto no folder at all; or it is taken again
            self._place.rmdir()


def held(folder: Path) -> bool:
    """Whether a process holds a run; seen from a clock that may differ from the file system's."""
    try:
        return any(_alive(file, _read(file), time.time()) for file in (folder / NAME).iterdir())
    except FileNotFoundError:
        return False


def reported() -> Path | None:
    """The folder in the file that REPORT names: the run of this process, or of one that it has started."""
    try:
        return Path(Path(os.environ[REPORT]).read_text(encoding="utf-8"))
    except (KeyError, FileNotFoundError):
        return None


def _alive(file: Path, owner: Owner | None, now: float) -> bool:
    """Whether a claim counts.

    Args:
        file: of the claim.
        owner: whom it names; None if it cannot be read.
        now: the file system's time.
    """
    dead = owner.dead() if owner else None
    return now - _changed(file) <= STALE_SECONDS if dead is None else not dead


def _changed(file: Path) -> float:
    """When a file was changed last, in seconds of the file system's clock; long ago if it is not there."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(file: Path) -> Owner | None:
    try:
        return Owner(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _machine() -> str:
    """Boot and process namespace, where the system tells them; containers may share a host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start_of(pid: int) -> str | None:
    """When a process began; None if it is gone, has ended and was not waited for, or the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()  # what stands before is the program's name, of any characters
    return None if fields[0] in ("Z", "X") else fields[19]
