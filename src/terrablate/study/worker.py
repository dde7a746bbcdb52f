"""A warm worker: a process that imports the heavy packages once and then trains run after run.

Started by `slots`. Jobs come as JSON lines on one pipe: `{"overrides": [...], "environment": {...}}`, the latter being
what the worker's environment replaced. Answers go to a second pipe, since libraries print on stdout:

- `{"ready": true}` once;
- `{"began": true}` when a job was read;
- `{"folder": ...}` when the folder of its record is known;
- `{"outcome": {...}, "last": false}` when it has ended; `last` says that the worker takes no further one.

SIGTERM ends the job as Ctrl-C would, and then the worker. So does the end of the first pipe, which comes also when the
parent was killed; what is left of the process group after some seconds is killed.
"""

import argparse
import contextlib
import faulthandler
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from terrablate.errors import Busy, UserError
from terrablate.study.outcome import Outcome
from terrablate.training import claim

GRACE_SECONDS = 10.0
"""For a run to end after SIGTERM; then it is killed."""
TRAIN = "terrablate.study.job:run_job"
"""What trains a job."""

type Runner = Callable[[Sequence[str], Mapping[str, str | None]], Outcome]
"""Takes the overrides of a job, and what a process of its own must set in the environment (None: unset)."""


class Worker:
    """The loop over jobs.

    Args:
        jobs: file descriptor to read from.
        answers: file descriptor to write to.
    """

    def __init__(self, jobs: int, answers: int) -> None:
        for descriptor in (jobs, answers):
            os.set_inheritable(descriptor, False)  # the pipes end when this process does, whatever it has started
        self._incoming = os.fdopen(jobs, encoding="utf-8")
        self._outgoing = os.fdopen(answers, "w", encoding="utf-8")
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._ending = False
        self._folder: str | None = None

    def serve(self, runner: str) -> None:
        """Import `module:function`, then run jobs until there are no more."""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that what it starts can be interrupted, too
        signal.signal(signal.SIGTERM, self._end)
        threading.Thread(target=self._listen, name="jobs", daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            module, _, name = runner.partition(":")
            run: Runner = getattr(importlib.import_module(module), name)
            claim.observers.append(self._tell_folder)
            self._answer({"ready": True})
            while not self._ending and (job := self._queue.get()) is not None:
                self._answer({"began": True})
                outcome, spent = self._run(run, job)
                self._answer({"outcome": outcome.plain(), "last": spent or self._ending})
                if spent:
                    break

    def _run(self, run: Runner, job: Mapping[str, Any]) -> tuple[Outcome, bool]:
        """The outcome, and whether this process should not go on, as its device may be in a bad state."""
        overrides = job["overrides"]
        sys.stderr.write(f"\n== {' '.join(overrides)}\n")
        self._folder = None
        began = time.monotonic()
        spent = False
        try:
            outcome = run(overrides, job["environment"])
        except (KeyboardInterrupt, SystemExit):
            outcome = Outcome(kind="interrupted", reason="the run was interrupted")
        except Exception as error:  # whatever a run raises is its outcome
            outcome, spent = outcome_of(error), not isinstance(error, UserError)
            if spent:
                traceback.print_exc()
            else:
                sys.stderr.write(f"error: {error}\n")
        outcome.folder = outcome.folder or self._folder
        outcome.seconds = time.monotonic() - began
        sys.stdout.flush()
        sys.stderr.flush()
        return outcome, spent

    def _listen(self) -> None:
        for line in self._incoming:
            self._queue.put(json.loads(line))
        self._queue.put(None)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if not self._ending:
            self._ending = True
            raise KeyboardInterrupt

    def _tell_folder(self, folder: Path) -> None:
        self._folder = str(folder)
        self._answer({"folder": self._folder})

    def _answer(self, message: Mapping[str, Any]) -> None:
        self._outgoing.write(json.dumps(message) + "\n")
        self._outgoing.flush()


def outcome_of(error: Exception) -> Outcome:
    """What an exception of a run means."""
    if isinstance(error, Busy):
        return Outcome(kind="busy", reason=str(error))
    if isinstance(error, UserError):
        return Outcome(kind="refused", reason=str(error))
    reason = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    return Outcome(kind="out_of_memory" if _out_of_memory(error) else "failed", reason=reason)


def _out_of_memory(error: Exception) -> bool:
    """Of the device or the CPU; torch raises a subclass of RuntimeError, its libraries a plain one."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def main() -> None:
    """Serve the pipes whose file descriptors are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, required=True, help="file descriptor of the pipe with jobs")
    parser.add_argument("--answers", type=int, required=True, help="file descriptor of the pipe for answers")
    parser.add_argument("--runner", default=TRAIN, help="module:function that runs a job")
    given = parser.parse_args()
    faulthandler.enable()
    Worker(given.jobs, given.answers).serve(given.runner)


if __name__ == "__main__":
    main()
