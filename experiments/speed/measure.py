"""Measuring side by side: subjects in turns, medians, and a row of `speed.csv` for each."""

import csv
import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
VERSIONS = ("torch", "torchgeo", "torchvision", "lightning", "kornia", "numpy")

type Subject = Callable[[], float]
"""Does the work once and gives the figure."""


@dataclass(frozen=True)
class Options:
    """What a call of the benchmark asks for."""

    data_root: Path
    """Holds eurosat/, as `DATA_DIR` does."""
    scratch: Path
    """Packs, runs and studies of the benchmark."""
    repeats: int
    quick: bool
    """Sizes cut so that everything is seen to work; the figures mean nothing."""

    def size(self, whole: int, cut: int) -> int:
        """A size, or the one of a quick call."""
        return cut if self.quick else whole


@dataclass(frozen=True)
class Figure:
    """A row of `speed.csv`: the median over repeats, and what it is compared with."""

    row: str
    subject: str
    unit: str
    value: float
    low: float
    high: float
    repeats: int
    reference: str = ""
    """The subject it is compared with."""
    ratio: float | None = None
    """How many times better than the reference; above 1 is better, whatever the unit."""
    target: str = ""
    conditions: str = ""
    quick: bool = False
    time: str = ""
    commit: str = ""
    machine: str = ""
    load: float = 0.0
    """Load average when it was measured; a busy machine spoils figures."""
    versions: str = ""


def alternate(subjects: Mapping[str, Subject], repeats: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """The figures of some subjects, each measured once a round, so that a drift of the machine meets all of them.

    Args:
        subjects: by name.
        repeats: rounds.
        warm_up: whether a round comes before that does not count; it fills the page cache.
    """
    if warm_up:
        for work in subjects.values():
            work()
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(repeats):
        names = list(subjects) if number % 2 == 0 else list(reversed(subjects))
        for name in names:
            found[name].append(subjects[name]())
    return found


def figures(
    row: str,
    unit: str,
    found: Mapping[str, Sequence[float]],
    compared: Mapping[str, Sequence[str]],
    options: Options,
    *,
    targets: Mapping[str, str] | None = None,
    conditions: str = "",
) -> list[Figure]:
    """Medians and ratios.

    Args:
        row: of the table.
        unit: `images/s`, for which more is better; else less is.
        found: figures by subject.
        compared: for a subject those that it is compared with, each of which gives a row.
        options: of the call.
        targets: of a subject.
        conditions: what was the same for all.
    """
    more_is_better = unit.endswith("/s")
    middle = {name: median(values) for name, values in found.items()}
    rows = []
    for name, values in found.items():
        for reference in compared.get(name, ()) or ("",):
            ratio = None
            if reference:
                ratio = middle[name] / middle[reference] if more_is_better else middle[reference] / middle[name]
            rows.append(
                Figure(
                    row=row, subject=name, unit=unit, value=middle[name], low=min(values), high=max(values),
                    repeats=len(values), reference=reference, ratio=ratio, target=(targets or {}).get(name, ""),
                    conditions=conditions, quick=options.quick, **where(),
                )
            )  # fmt: skip
    return rows


def best_of(found: dict[str, list[float]], names: Sequence[str], more_is_better: bool = True) -> str:
    """The subject with the best median."""
    return (max if more_is_better else min)(names, key=lambda name: median(found[name]))


def where() -> dict[str, str | float]:
    """When, on what, and with which code a figure was measured."""
    head = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": head,
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {_device()}",
        "load": round(os.getloadavg()[0], 2),
        "versions": " ".join(f"{name}={importlib.metadata.version(name)}" for name in VERSIONS),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def write(rows: Sequence[Figure], file: Path) -> None:
    """Add rows to a CSV file; what was measured before stays."""
    is_new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, [field.name for field in fields(Figure)], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows({name: _shown(value) for name, value in asdict(row).items()} for row in rows)


def _shown(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def show(rows: Sequence[Figure]) -> str:
    """Lines for a terminal."""
    lines = []
    for row in rows:
        against = f"   {row.ratio:.2f} x {row.reference}" if row.ratio is not None else ""
        target = f"   (target: {row.target})" if row.target else ""
        lines.append(f"{row.row:<12} {row.subject:<44} {row.value:>12,.4g} {row.unit}{against}{target}")
    return "\n".join(lines)


def seconds_of(command: Sequence[str], *, status: int | None = 0, cwd: Path | None = None) -> float:
    """Wall-clock seconds of a command.

    Raises:
        RuntimeError: if it does not end with this status; None takes any.
    """
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if status is not None and done.returncode != status:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return seconds
