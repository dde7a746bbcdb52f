"""Hands the runs of a study that are left to Hydra's launcher, and takes each end into the study's tables."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from terrablate.errors import UserError
from terrablate.study.folder import StudyFolder
from terrablate.study.outcome import Kind, Outcome
from terrablate.study.plan import PlannedRun

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

logger = logging.getLogger(__name__)


class Trainer:
    """Trains what is left of some runs.

    Args:
        launcher: Hydra's.
        folder: of the study.
        code: code identity that a finished record must have; None accepts any.
        force: train what is done, too.
        retry: train again what failed.
    """

    def __init__(
        self, launcher: "Launcher", folder: StudyFolder, code: str | None, *, force: bool, retry: bool
    ) -> None:
        self._launcher = launcher
        self._folder = folder
        self._code = code
        self._force = force
        self._retry = retry
        self.left_alone: set[tuple[str, int]] = set()
        """Runs that had failed, and are not tried again."""

    def train(self, runs: Sequence[PlannedRun]) -> dict[tuple[str, int], Outcome]:
        """Train the runs that are not done, and give their outcomes.

        Raises:
            UserError: if the study's tables cannot be written.
        """
        done = {} if self._force else self._folder.done(runs, self._code)
        left_alone = set() if self._retry else self._folder.failed(runs)
        self.left_alone |= left_alone
        return self._launched([run for run in runs if run.key not in done and run.key not in left_alone])

    def outcomes(self, runs: Sequence[PlannedRun]) -> dict[tuple[str, int], Outcome]:
        """As `train`, with those of runs that were done; what had failed and is not tried again has none."""
        done = {} if self._force else self._folder.done(runs, self._code)
        known = {key: Outcome(kind=cast(Kind, row["status"]), folder=row["folder"]) for key, row in done.items()}
        return known | self.train(runs)

    def _launched(self, jobs: Sequence[PlannedRun]) -> dict[tuple[str, int], Outcome]:
        if not jobs:
            return {}
        pending: dict[int, Outcome] = {}

        def note(index: int, outcome: Outcome) -> None:
            pending[index] = outcome
            try:
                self._write_down(jobs, pending)
            except UserError as error:
                logger.warning("%s; the runs go on, and are taken into the table later", error)

        takes_notes = hasattr(self._launcher, "on_outcome")
        if takes_notes:
            setattr(self._launcher, "on_outcome", note)  # noqa: B010 - of our own launcher alone
        returned = self._launcher.launch([list(job.overrides) for job in jobs], initial_job_idx=0)
        outcomes = {}
        for index, job_return in enumerate(returned):
            outcome = job_return.return_value
            if not isinstance(outcome, Outcome):
                raise UserError(f"hydra/launcher: gave no outcome for {jobs[index].variant!r}")
            outcomes[jobs[index].key] = outcome
            if not takes_notes:
                note(index, outcome)
        self._write_down(jobs, pending)
        return outcomes

    def _write_down(self, jobs: Sequence[PlannedRun], pending: dict[int, Outcome]) -> None:
        for index in list(pending):
            self._folder.add(*jobs[index].key, pending[index])
            del pending[index]
