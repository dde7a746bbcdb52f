"""Whole studies in this process within a second: all of the command, the sweeper and its folder, but no training."""

import hashlib
import json
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from terrablate.config.choices import PROJECT
from terrablate.study.outcome import Outcome
from terrablate.training.record import Record

NOT_OF_THE_RUN = ("study.", "runs_dir=", "studies_dir=", "packs_dir=", "code=", "force=", "hydra.")
CODE = "the code of today"

type Judge = Callable[[Mapping[str, str]], float | Outcome]
"""From the overrides of a run to its val accuracy, or to how it ends."""


class Studies:
    """Calls `src/train.py` with -m in this process; each run leaves a record and was never trained.

    Args:
        folder: for all that is written.
        patch: replaces the pool of workers.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.trained: list[dict[str, str]] = []
        """The overrides of each run that was not found done, in order."""
        self.asked_for: list[dict[str, str]] = []
        """The overrides of each run that the sweeper handed out."""
        self.judge: Judge = lambda _: 0.5
        self.seconds: Callable[[Mapping[str, str]], float] = lambda _: 1.0
        """How long a run takes, by its overrides."""
        self.best: float | None = None
        """Of the best epoch, where that is not the last."""
        self._patch = patch
        patch.setattr("terrablate.study.slots.run_jobs", self._run_jobs)
        patch.setattr("terrablate.study.sweep.code_identity", lambda: CODE)
        patch.setattr("terrablate.report.command.write_after_study", lambda *_: None)  # takes longer than all the rest

    def __call__(self, *words: str) -> int:
        """Call the command and give its exit status."""
        from terrablate.commands import hydra_command

        train = runpy.run_path(str(PROJECT / "src" / "train.py"))["train"]

        places = [f"{name}_dir={self.folder / name}" for name in ("runs", "packs", "studies")]
        given = [word.split("=")[0] for word in words]
        self.trained, self.asked_for = [], []
        self._patch.setattr(
            sys, "argv", ["train.py", *words, *(word for word in places if word.split("=")[0] not in given)]
        )
        return hydra_command(train)

    def rows(self, name: str, table: str = "runs.csv") -> list[dict[str, str]]:
        """A table of a study."""
        import csv

        with (self.folder / "studies" / name / table).open() as file:
            return list(csv.DictReader(file))

    def _run_jobs(
        self, jobs: Sequence[Sequence[str]], settings: Any, tell: Callable[[int, Outcome], None]
    ) -> list[Outcome]:
        outcomes = []
        for index, overrides in enumerate(jobs):
            outcomes.append(self._run(overrides))
            tell(index, outcomes[-1])
        return outcomes

    def _run(self, overrides: Sequence[str]) -> Outcome:
        words = dict(word.split("=", 1) for word in overrides)
        self.asked_for.append(words)
        own = {key: value for key, value in words.items() if not f"{key}=".startswith(NOT_OF_THE_RUN)}
        digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:10]
        folder = self.folder / "runs" / f"s{words['seed']}-{digest}"
        result = folder / "result.json"
        found = Record(folder).result()
        if found and found.get("provenance") and words.get("force") != "true":
            return Outcome(found["deployed"]["accuracy/val"], folder=str(folder))
        self.trained.append(words)
        judged = self.judge(words)
        if isinstance(judged, Outcome):
            return judged
        folder.mkdir(parents=True, exist_ok=True)
        scores = {f"{key}/val": judged for key in ("accuracy", "nll")}
        best = scores if self.best is None else dict.fromkeys(scores, self.best)
        content = {"status": "complete", "last": scores, "best": best, "deployed": {"which": "last", **scores}}
        content |= {"cost": {"seconds": self.seconds(words)}, "provenance": {"code": CODE}}
        result.write_text(json.dumps(content))
        return Outcome(judged, folder=str(folder))
