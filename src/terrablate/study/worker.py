"""A warm worker: a process that imports the heavy packages once and then trains run after run.

Started by `slots`. Jobs come as JSON lines on one pipe: `{"overrides": [...], "environment": {...}}`, the latter being
what the worker's environment replaced. Answers go to a second pipe, since libraries print on stdout:

- `{"ready": true}` once;
- `{"began": true}` when a job was read;
- `{"outcome": {...}, "last": false}` when it has ended; `last` says that the worker takes no further one.

SIGTERM ends the job as Ctrl-C would, and then the worker. So does the end of the first pipe, which comes also when the
parent was killed; what is left of the process group after some seconds is killed.
"""

import argparse
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from terrablate.commands import EXIT_USAGE, attempt
from terrablate.errors import Busy
from terrablate.imports import install
from terrablate.study.outcome import Outcome

GRACE_SECONDS = 10.0
"""For a run to end after SIGTERM; then it is killed."""
TRAIN = "terrablate.study.worker_job:run_job"
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

    def serve(self, runner: str) -> None:
        """Import `module:function`, then run jobs until there are no more."""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that what it starts can be interrupted, too
        signal.signal(signal.SIGTERM, self._end)
        threading.Thread(target=self._listen, name="jobs", daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            install()
            module, _, name = runner.partition(":")
            run: Runner = getattr(importlib.import_module(module), name)
            gc.freeze()  # what was imported stays: looking through it after each run would take longer than some runs
            self._answer({"ready": True})
            is_first = True
            while not self._ending and (job := self._queue.get()) is not None:
                self._answer({"began": True})
                outcome = self._run(run, job)
                if is_first:
                    gc.freeze()  # and so does what the first run has imported
                    is_first = False
                spent = outcome.kind in ("failed", "out_of_memory")  # its device may be in a bad state
                self._answer({"outcome": outcome.to_dict(), "last": spent or self._ending})
                if spent:
                    break

    def _run(self, run: Runner, job: Mapping[str, Any]) -> Outcome:
        overrides = job["overrides"]
        sys.stderr.write(f"\n== {' '.join(overrides)}\n")
        began = time.monotonic()

        def action() -> Outcome:
            try:
                return run(overrides, job["environment"])
            except Busy as error:
                return Outcome(status=EXIT_USAGE, kind="busy", reason=str(error))

        outcome = attempt(action, "train")
        if outcome.kind == "interrupted":
            outcome.reason = "the run was interrupted"
        outcome.seconds = time.monotonic() - began
        sys.stdout.flush()
        sys.stderr.flush()
        return outcome

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

    def _answer(self, message: Mapping[str, Any]) -> None:
        self._outgoing.write(json.dumps(message) + "\n")
        self._outgoing.flush()


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
