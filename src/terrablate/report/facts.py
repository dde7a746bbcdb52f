"""What stands at the head of a page: how runs ended, where they come from, how often the test split was opened."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.report.names import counted
from terrablate.report.records import Records

if TYPE_CHECKING:
    from terrablate.study.evidence import RunOf

OPENINGS = "test_openings.csv"
NEVER_OPENED = "test split never opened"
_ENDED_WELL = "complete"
_PACKAGES = "provenance.packages."
_SHORT = 10


def text_of(run: "RunOf", column: str) -> str:
    """A cell of `runs.csv`; '' where there is none."""
    if column in run.texts:
        return run.texts[column]
    value = run.values.get(column)
    return "" if value is None else f"{value:g}"


def runs_sentence(runs: Sequence["RunOf"]) -> str:
    """Such as `24 runs: 22 complete, 1 diverged, 1 failed`."""
    counts = Counter(run.status for run in runs)
    ended = ", ".join(f"{count} {_word(status)}" for status, count in counts.most_common())
    return f"{counted(len(runs), 'run')}: {ended}" if runs else "no runs"


def _word(status: str) -> str:
    return {"missing": "not ended yet", "corrupt": "damaged"}.get(status, status.replace("_", " "))


def fallen(runs: Sequence["RunOf"]) -> list[dict[str, Any]]:
    """The runs that ended badly, and those of which no record is there, each with its reason."""
    return [
        {
            "variant": run.variant,
            "seed": run.seed,
            "status": _word(run.status),
            "reason": run.reason,
        }
        for run in runs
        if run.status != _ENDED_WELL
    ]


def is_synthetic(runs: Sequence["RunOf"]) -> bool:
    """Whether any run was trained on synthetic data."""
    return any(text_of(run, "synthetic") == "true" for run in runs)


def openings(folder: Path, records: Records) -> tuple[str, list[dict[str, str]]]:
    """How often the test split was opened, in words, and the lines of `test_openings.csv`."""
    rows = records.table(folder / OPENINGS)
    if not rows:
        return NEVER_OPENED, []
    times = "once" if len(rows) == 1 else "twice" if len(rows) == 2 else f"{len(rows)} times"
    return f"test split opened {times}", rows


def provenance(runs: Sequence["RunOf"]) -> list[tuple[str, str]]:
    """Label and value, with the number of runs where there is more than one value; nothing where none is known."""
    facts = [
        ("commit", _shares(runs, "provenance.commit", short=True)),
        ("uncommitted changes", _shares(runs, "provenance.dirty").replace("false", "no").replace("true", "yes")),
        ("training code", _shares(runs, "provenance.code", short=True)),
        ("data", _shares(runs, "provenance.data_fingerprint", short=True)),
        ("device", _shares(runs, "provenance.device")),
        ("precision", _shares(runs, "provenance.hardware.precision")),
        ("training time", _time(runs)),
    ]
    packages = dict.fromkeys(
        column for run in runs for column in (*run.texts, *run.values) if column.startswith(_PACKAGES)
    )
    facts += [(column.removeprefix(_PACKAGES), _shares(runs, column)) for column in packages]
    return [(label, value) for label, value in facts if value]


def mixed(runs: Sequence["RunOf"]) -> list[str]:
    """What differs between runs that are compared and should not."""
    found = []
    for column, noun in (
        ("provenance.code", "versions of the training code"),
        ("provenance.device", "devices"),
        ("provenance.packages.torch", "versions of torch"),
    ):
        values = {text_of(run, column) for run in runs} - {""}
        if len(values) > 1:
            found.append(f"The runs were made with {len(values)} {noun}.")
    return found


def _shares(runs: Sequence["RunOf"], column: str, *, short: bool = False) -> str:
    counts = Counter(text_of(run, column)[: _SHORT if short else None] for run in runs)
    counts.pop("", None)
    if len(counts) <= 1:
        return next(iter(counts), "")
    return ", ".join(f"{value} ({counted(count, 'run')})" for value, count in counts.most_common())


def _time(runs: Sequence["RunOf"]) -> str:
    known = [run.values["cost.seconds"] for run in runs if "cost.seconds" in run.values]
    if not known:
        return ""
    return f"{duration(sum(known))} in all, {duration(sum(known) / len(known))} a run"


def duration(seconds: float) -> str:
    """Such as `1 h 05 min`, `12 min` or `42 s`."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min" if seconds >= 120 else f"{seconds:.0f} s"


def levels_of(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of the factors, in the order in which they appear."""
    return list(dict.fromkeys(name for levels in variants for name in levels))
