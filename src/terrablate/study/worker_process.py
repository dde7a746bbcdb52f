"""A worker as its parent sees it: a process in a session of its own, two pipes and a log file."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import terrablate
from terrablate.training import claim

_TAIL_LINES, _TAIL_BYTES = 20, 16_384
_SOURCES = Path(terrablate.__file__).resolve().parents[1]


class WorkerProcess:
    """Starts at once; is ready when it says so.

    Args:
        environment: what it has besides the environment of this process.
        log: file that its output is added to.
        report: file through which it tells the folder of its run.
        runner: `module:function` that runs a job.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, report: Path, runner: str) -> None:
        self.log = log
        self._report = report
        self.ready = False
        self._replaced = {name: os.environ.get(name) for name in environment}
        jobs_out, jobs_in = os.pipe()
        answers_out, answers_in = os.pipe()
        command = [
            *(sys.executable, "-P", "-m", "terrablate.study.worker"),
            *("--jobs", str(jobs_out), "--answers", str(answers_in), "--runner", runner),
        ]
        path = os.pathsep.join(filter(None, [str(_SOURCES), os.environ.get("PYTHONPATH")]))
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, **environment, "PYTHONPATH": path, claim.REPORT: str(report)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(jobs_out, answers_in),
                    start_new_session=True,  # Ctrl-C in the terminal reaches the parent alone
                )
        finally:
            os.close(jobs_out)
            os.close(answers_in)
        os.set_blocking(answers_out, False)
        self._jobs = os.fdopen(jobs_in, "w", encoding="utf-8")
        self._answers = os.fdopen(answers_out, "rb", buffering=0)
        self._unread = b""
        self._log_start = self._log_size()

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def fileno(self) -> int:
        """Of the pipe with answers, for `selectors`."""
        return self._answers.fileno()

    def give(self, overrides: Sequence[str]) -> None:
        """Hand over a job; a worker that died a moment ago is found out when its answers end."""
        self._log_start = self._log_size()
        self._report.unlink(missing_ok=True)
        with contextlib.suppress(BrokenPipeError):
            self._jobs.write(json.dumps({"overrides": list(overrides), "environment": self._replaced}) + "\n")
            self._jobs.flush()

    def answers(self) -> Iterator[dict[str, Any] | None]:
        """What it has said since the last call; None at the end if it has ended."""
        while (part := self._answers.read(65_536)) is not None:
            if not part:
                yield None
                return
            *lines, self._unread = (self._unread + part).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def tell_to_stop(self) -> None:
        """End its run as Ctrl-C would, and itself."""
        self._process.send_signal(signal.SIGTERM)

    def kill_group(self) -> None:
        """End it at once, with all it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it at once, with all it has started, and take its remains away."""
        self.kill_group()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()
        self._answers.close()

    def folder(self) -> Path | None:
        """Of the record of its run, once that is known."""
        try:
            return Path(self._report.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def death(self) -> str:
        """A sentence on how it ended; call it after its answers have ended."""
        try:
            return death(self._process.wait(timeout=10))
        except subprocess.TimeoutExpired:  # it has closed the pipe and lives on
            return "the process stopped answering"

    def log_tail(self) -> str:
        """The last lines of its log since its job began, or since it was started."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
        return ""

    def _log_size(self) -> int:
        try:
            return self.log.stat().st_size
        except OSError:
            return 0


def death(returncode: int) -> str:
    """A sentence for a process that ended before its run did.

    Args:
        returncode: as `subprocess` gives it: below zero for a signal.
    """
    if returncode >= 0:
        return f"the process ended with status {returncode} before the run did"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # real-time signals have no names
        name = f"signal {-returncode}"
    return f"the process died of {name}" + (", perhaps out of memory" if name == "SIGKILL" else "")
