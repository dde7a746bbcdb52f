"""What a person sees of many runs: a display in a terminal, a line for each finished run elsewhere."""

import math
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from terrablate.study.outcome import Outcome

_EPOCH = re.compile(r"^epoch +(\d+)/(\d+)", re.MULTILINE)
_GOOD = ("complete", "diverged")


class Progress:
    """A context manager that shows how far the runs are, on stderr.

    Args:
        jobs: the overrides of each run.
    """

    def __init__(self, jobs: Sequence[Sequence[str]]) -> None:
        self._words = [" ".join(words) for words in what_differs(jobs)]
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._ended: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._best: tuple[float, int] | None = None
        self._slots = 1

    @property
    def is_live(self) -> bool:
        """Whether it is drawn anew again and again, for which it wants to be told what is running."""
        return self._live is not None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def finished(self, index: int, outcome: Outcome, slots: int) -> None:
        """Count a run that has ended."""
        self._ended[outcome.kind] += 1
        self._seconds.append(outcome.seconds)
        self._slots = slots
        if math.isfinite(outcome) and (self._best is None or outcome > self._best[0]):
            self._best = (float(outcome), index)
        if not self.is_live:
            left = f"  ETA {self._eta()}" if self._left() else ""
            count = f"[{self._ended.total()}/{len(self._words)}]"
            self._say(f"{count} {self._line(index, outcome)}{left}")
        elif outcome.kind not in _GOOD:
            self._console.print(Text(self._line(index, outcome), style="red"))

    def note(self, text: str) -> None:
        """Say something besides."""
        if self.is_live:
            self._console.print(text, highlight=False, markup=False)
        else:
            self._say(text)

    def show(self, running: Mapping[int, tuple[float, str]], waiting: int) -> None:
        """Draw anew.

        Args:
            running: of each run that is being trained, when it began (`time.monotonic`) and the end of its log.
            waiting: runs that another process trains.
        """
        if self._live is None:
            return
        table = Table.grid(padding=(0, 2))
        for index, (began, log) in running.items():
            epochs = _EPOCH.findall(log)
            epoch = "epoch {}/{}".format(*epochs[-1]) if epochs else ""
            table.add_row("", _clock(time.monotonic() - began), epoch, Text(self._words[index], no_wrap=True))
        bar = ProgressBar(total=len(self._words), completed=self._ended.total(), width=24)
        head = Table.grid(padding=(0, 2))
        head.add_row(bar, Text(self._counts(len(running), waiting)))
        running_now = [table] if running else []
        best = [Text(f"best so far: {self._value()}", no_wrap=True, overflow="ellipsis")] if self._best else []
        self._live.update(Group(head, *running_now, *best), refresh=True)

    def _counts(self, running: int, waiting: int) -> str:
        done = sum(self._ended[kind] for kind in _GOOD)
        parts = [f"{done} done", f"{running} running", f"{self._ended.total() - done} failed"]
        parts += [f"{self._left() - running} left"] + ([f"{waiting} trained elsewhere"] if waiting else [])
        return ", ".join(parts) + (f", ETA {self._eta()}" if self._seconds and self._left() else "")

    def _value(self) -> str:
        assert self._best is not None
        return f"val accuracy {self._best[0]:.3f}  {self._words[self._best[1]]}"

    def _line(self, index: int, outcome: Outcome) -> str:
        value = f"val accuracy {float(outcome):.3f}  " if math.isfinite(outcome) else ""
        why = f": {outcome.reason}" if outcome.reason else ""
        kind = outcome.kind.replace("_", " ")
        return f"{kind}  {value}{_clock(outcome.seconds)}  {self._words[index]}{why}".rstrip()

    def _left(self) -> int:
        return len(self._words) - self._ended.total()

    def _eta(self) -> str:
        """From the runs that have ended, most of which were like those that are left."""
        mean = sum(self._seconds) / len(self._seconds)
        return _clock(mean * self._left() / max(1, min(self._slots, self._left())))

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def what_differs(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each run the overrides that not all runs have, without those by which a study knows its runs."""
    counts = Counter(word for overrides in jobs for word in set(overrides))
    return [
        [word for word in overrides if counts[word] < len(jobs) and not word.lstrip("+").startswith("study.")]
        for overrides in jobs
    ]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
