"""A pool of warm workers that trains many runs: one slot or more on each device, and nothing lost but what died.

Imports no torch: it must be able to start, watch and outlive processes that do.
"""

import contextlib
import os
import selectors
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from terrablate.commands import EXIT_FAILURE, EXIT_INTERRUPTED
from terrablate.errors import UserError
from terrablate.study.artist import Artist
from terrablate.study.devices import Device, find_devices
from terrablate.study.outcome import Kind, Outcome
from terrablate.study.progress import Progress
from terrablate.study.signals import signals_to
from terrablate.study.worker import GRACE_SECONDS, TRAIN
from terrablate.study.worker_process import WorkerProcess
from terrablate.training.failure import failure_of_another

_STARTS = 3
"""Deaths of a slot's workers before they were ready, one after the other, that end the study."""
_REDRAW_SECONDS = 0.5
_FAILED = ("died", "timed_out", "failed", "out_of_memory")
_INTERRUPTED = "the run was interrupted"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a pool."""

    logs: Path
    """Folder that gets a file for each slot."""
    slots_per_device: Literal["auto"] | int = "auto"
    devices: Literal["auto", "cpu"] | Sequence[int] = "auto"
    run_timeout: float | None = None
    """Seconds after which a run is ended."""
    poll_seconds: float = 10.0
    """Between two looks at a run that another process trains."""
    grace_seconds: float = GRACE_SECONDS
    """For a run to end by itself when it is told to."""
    runner: str = TRAIN
    """`module:function` that runs a job in a worker."""


@dataclass
class _Job:
    index: int
    overrides: Sequence[str]
    not_before: float = 0.0
    alone_on: Device | None = None
    """Has run out of memory there: is tried once more with the device for itself."""
    waits: bool = False
    """Another process trains it."""


@dataclass(eq=False)
class _Slot:
    device: Device
    log: Path
    worker: WorkerProcess | None = None
    job: _Job | None = None
    began: float = 0.0
    deadline: float | None = None
    """When the worker is told to stop, or killed."""
    begun: bool = False
    """The worker has read its job."""
    told: bool = False
    """The worker ends, and takes no job."""
    timed_out: bool = False
    deaths: int = field(default=0)


def run_jobs(
    jobs: Sequence[Sequence[str]], settings: Settings, on_outcome: Callable[[int, Outcome], None] | None = None
) -> list[Outcome]:
    """Train a run for each list of overrides and wait for all.

    Args:
        jobs: the overrides of each run.
        settings: of the pool.
        on_outcome: told the place in `jobs` and the outcome as each run ends.

    Returns:
        The outcomes, in the order of `jobs`.

    Raises:
        ConfigError: for devices that are not there.
        UserError: if workers cannot be started.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once no worker is left; `on_outcome` was told of the runs that had
            begun.
    """
    if not jobs:
        return []
    return _Pool(jobs, settings, on_outcome).run()


class _Pool:
    def __init__(
        self, jobs: Sequence[Sequence[str]], settings: Settings, on_outcome: Callable[[int, Outcome], None] | None
    ) -> None:
        self._settings = settings
        self._on_outcome = on_outcome
        self._queue = deque(_Job(index, overrides) for index, overrides in enumerate(jobs))
        self._outcomes: list[Outcome | None] = [None] * len(jobs)
        devices = find_devices(settings.devices, settings.slots_per_device)
        names = [(device, number) for number in range(max(each.slots for each in devices)) for device in devices]
        self._slots = [
            _Slot(device, settings.logs / f"{device.name}-{number}-{os.getpid()}.log")
            for device, number in names
            if number < device.slots
        ][: len(jobs)]
        self._progress = Progress(jobs)
        self._artist = Artist()
        self._selector = selectors.DefaultSelector()
        self._signals = 0

    def run(self) -> list[Outcome]:
        try:
            self._settings.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._settings.logs} cannot be written: {error.strerror or error}") from error
        scratch = tempfile.TemporaryDirectory(prefix="terrablate-slots-")
        self._scratch = Path(scratch.name)
        with scratch, self._selector, signals_to(self._selector) as taken, self._progress, self._artist:
            try:
                while None in self._outcomes and not self._signals:
                    self._hand_out()
                    self._wait(taken)
                while self._artist.left and not self._signals:
                    time.sleep(_REDRAW_SECONDS / 10)
                    self._signals = len(taken)
                if self._signals:
                    self._artist.stop()
                    self._interrupt(taken)
            finally:
                for slot in self._slots:
                    self._discard(slot)
        if self._signals:
            raise KeyboardInterrupt
        return [outcome for outcome in self._outcomes if outcome is not None]

    # --- handing out

    def _hand_out(self) -> None:
        for device in {slot.device for slot in self._slots}:
            slots = [slot for slot in self._slots if slot.device == device]
            alone = next((job for job in self._queue if job.alone_on == device), None)
            if alone is not None:
                if not any(slot.job for slot in slots):
                    for slot in slots[1:]:  # an idle worker keeps some of the device's memory
                        self._discard(slot)
                    self._start_or_give(slots[0], alone)
            elif not any(slot.job and slot.job.alone_on for slot in slots):
                for slot in slots:
                    job = self._next()
                    if slot.job is None and job is not None:
                        self._start_or_give(slot, job)

    def _next(self) -> _Job | None:
        now = time.monotonic()
        return next((job for job in self._queue if job.alone_on is None and job.not_before <= now), None)

    def _start_or_give(self, slot: _Slot, job: _Job) -> None:
        if slot.worker is None:
            report = self._scratch / f"{slot.log.stem}.folder"
            slot.worker = WorkerProcess(slot.device.environment(), slot.log, report, self._settings.runner)
            slot.told, slot.deadline = False, None
            self._selector.register(slot.worker, selectors.EVENT_READ, slot)
        elif slot.worker.ready and not slot.told:
            self._queue.remove(job)
            slot.job, slot.begun, slot.timed_out = job, False, False
            slot.began = time.monotonic()
            slot.deadline = slot.began + self._settings.run_timeout if self._settings.run_timeout else None
            slot.worker.give(job.overrides)

    # --- waiting

    def _wait(self, taken: list[int]) -> None:
        now = time.monotonic()
        due = [slot.deadline for slot in self._slots if slot.deadline is not None]
        due += [job.not_before for job in self._queue if job.not_before > now]
        due += [now + _REDRAW_SECONDS] if self._progress.is_live else []
        for key, _ in self._selector.select(max(0.0, min(due) - now) if due else None):
            if isinstance(key.data, _Slot):
                self._listen(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 1024)
        self._signals = len(taken)
        now = time.monotonic()
        for slot in self._slots:
            if slot.deadline is not None and now >= slot.deadline:
                self._enforce(slot, now)
        if self._progress.is_live:
            running = {s.job.index: (s.began, s.worker.log_tail()) for s in self._slots if s.job and s.worker}
            self._progress.show(running, sum(job.waits for job in self._queue))

    def _enforce(self, slot: _Slot, now: float) -> None:
        """The time of a run is over, or that of a worker that was told to stop."""
        assert slot.worker is not None
        if slot.told:
            slot.deadline = None
            slot.worker.kill_group()
        else:
            slot.timed_out, slot.told = True, True
            slot.deadline = now + self._settings.grace_seconds
            slot.worker.tell_to_stop()

    def _listen(self, slot: _Slot) -> None:
        assert slot.worker is not None
        for message in slot.worker.answers():
            if message is None:
                self._bury(slot)
                return
            if "ready" in message:
                slot.worker.ready, slot.deaths = True, 0
            elif "began" in message:
                slot.begun = True
            elif slot.job is not None:
                if message["last"] and not slot.told:
                    slot.told, slot.deadline = True, time.monotonic() + self._settings.grace_seconds
                outcome = Outcome.from_dict(message["outcome"])
                outcome.folder = outcome.folder or (str(folder) if (folder := slot.worker.folder()) else None)
                self._ended(slot, outcome, slot.worker.log_tail())

    def _bury(self, slot: _Slot) -> None:
        """A worker has ended."""
        assert slot.worker is not None
        reason, tail, ready = slot.worker.death(), slot.worker.log_tail(), slot.worker.ready
        folder = slot.worker.folder()
        self._discard(slot)
        if slot.job is not None and not slot.begun:
            self._queue.appendleft(slot.job)
            slot.job = None
        elif slot.job is not None:
            self._ended(slot, _cut("died", reason, folder, slot.began), tail)
        elif not ready and not self._signals:
            slot.deaths += 1
            if slot.deaths == _STARTS:
                said = next((line for line in reversed(tail.splitlines()) if line.strip()), reason)
                raise UserError(f"workers do not start ({said.strip()}); their log is {slot.log}")

    # --- the end of a run

    def _ended(self, slot: _Slot, outcome: Outcome, tail: str) -> None:
        job, slot.job = slot.job, None
        assert job is not None
        if not slot.told:
            slot.deadline = None
        cut = outcome.kind in ("interrupted", "died")
        folder = Path(outcome.folder) if outcome.folder else None
        if self._signals and cut:
            outcome = _cut("interrupted", _INTERRUPTED, folder, slot.began)
        elif slot.timed_out and cut:
            reason = f"ended after the {self._settings.run_timeout:g} s of run_timeout"
            outcome = _cut("timed_out", reason, folder, slot.began)
        if not self._signals and self._put_back(job, slot.device, outcome):
            return
        if folder is not None and outcome.kind in _FAILED:
            failure_of_another(folder, outcome.reason or outcome.kind, tail)
        elif folder is not None:
            self._artist.draw(folder)
        self._outcomes[job.index] = outcome
        self._progress.finished(job.index, outcome, len(self._slots))
        if outcome.kind == "died":
            self._progress.note(f"the last lines of {slot.log}:\n{tail}")
        if self._on_outcome is not None:
            self._on_outcome(job.index, outcome)

    def _put_back(self, job: _Job, device: Device, outcome: Outcome) -> bool:
        """Whether the run is tried again: it is another's for now, or had too little memory beside others."""
        if outcome.kind == "busy":
            if not job.waits:
                self._progress.note(f"{outcome.folder}: another process trains this run; it is looked at again later")
            job.waits, job.not_before = True, time.monotonic() + self._settings.poll_seconds
        elif outcome.kind == "out_of_memory" and job.alone_on is None:
            self._progress.note(f"out of memory: {' '.join(job.overrides)} is tried again alone on {device.name}")
            job.alone_on = device
        else:
            return False
        self._queue.append(job)
        return True

    # --- stopping

    def _interrupt(self, taken: list[int]) -> None:
        """Tell all workers to stop, wait some seconds for their runs to end, and kill what is left."""
        self._progress.note("stopping; the runs keep their last checkpoint (once more: at once)")
        for slot in self._slots:
            if slot.worker is not None and not slot.told:
                slot.told = True
                slot.worker.tell_to_stop()
        end = time.monotonic() + self._settings.grace_seconds
        for slot in self._slots:
            slot.deadline = None
        while any(slot.job for slot in self._slots) and len(taken) < 2 and time.monotonic() < end:
            for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                if isinstance(key.data, _Slot):
                    self._listen(key.data)
                else:
                    os.read(key.fd, 1024)
        for slot in self._slots:
            folder = slot.worker.folder() if slot.worker else None
            self._discard(slot)
            if slot.job is not None:
                self._ended(slot, _cut("interrupted", _INTERRUPTED, folder, slot.began), "")

    def _discard(self, slot: _Slot) -> None:
        """End the worker of a slot, and all that it has started."""
        if slot.worker is not None:
            self._selector.unregister(slot.worker)
            slot.worker.close()
            slot.worker, slot.deadline = None, None


def _cut(kind: Kind, reason: str, folder: Path | None, began: float) -> Outcome:
    """The outcome of a run that did not end by itself."""
    status = EXIT_INTERRUPTED if kind == "interrupted" else EXIT_FAILURE
    place = str(folder) if folder else None
    return Outcome(status=status, kind=kind, folder=place, reason=reason, seconds=time.monotonic() - began)
