"""Runs in a process of its own: kills a real study at random moments, starts it again until it ends, and compares.

Usage: python chaos.py FOLDER [--kills 10] [--seed 0] [--seeds 2] [--epochs 3] [--slots 2]. Writes FOLDER/report.json:
what was killed when, and what differs from an undisturbed study. A study that ends before all kills were made is
followed by another round, in folders of its own.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from terrablate.config.choices import PROJECT

STUDY = """\
defaults: [_common, _self_]
name: chaos
base: [data=synthetic, data.train=48, data.val=20, data.test=10, data.size=16, batch_size=8, model=small_cnn,
       model.width=4, trainer=cpu, trainer.threads=1, trainer.checkpoint_seconds=0]
factors: {tricks: {without: [], with: [aug=flip, dropout=head]}}
"""
MARK = "TERRABLATE_TEST_OF_CHAOS"
"""Environment variable by which every process of a study is found, whoever its parent is by now."""
KILLS_A_ROUND = 5
"""So that kills come early in a study and late."""
STARTS = 40
"""Of a study, after which it should have ended."""
PATIENCE = 60.0
"""Seconds for processes to end after what they belong to was killed."""
FREE = ("reason", "folder")
"""Columns that may differ, besides those of cost and provenance; the folder's name, a run's identity, may not."""


class Started:
    """A study, started as a person does.

    Args:
        folder: for all that it writes.
        words: of the command line.
        round_name: folder of this round.
    """

    def __init__(self, folder: Path, words: list[str], round_name: str) -> None:
        self.base = folder / round_name
        self.base.mkdir(exist_ok=True)
        places = [f"{name}_dir={self.base / name}" for name in ("runs", "packs", "studies")]
        command = [sys.executable, str(PROJECT / "src" / "train.py"), "-m", "study=chaos", *words, *places]
        command.append(f"hydra.searchpath=[file://{folder}]")
        self.log = self.base / "log.txt"
        with self.log.open("a") as log:
            log.write("== started\n")
            log.flush()
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env={**os.environ, MARK: str(self.base)}
            )

    def ended(self, within: float) -> bool:
        """Whether it has ended by itself after some seconds."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def workers(self) -> list[int]:
        """Processes that train."""
        return [
            pid for pid in marked(self.base) if pid != self.process.pid and b"study.worker" in _read(pid, "cmdline")
        ]

    def count(self, name: str) -> int:
        """How many runs have such a file."""
        return len(list(self.base.glob(f"runs/*/{name}")))


def kill_the_parent(study: Started, dice: random.Random) -> None:
    study.process.kill()


def terminate_the_parent(study: Started, dice: random.Random) -> None:
    study.process.terminate()


def interrupt_twice(study: Started, dice: random.Random) -> None:
    study.process.send_signal(signal.SIGINT)
    time.sleep(dice.uniform(0, 0.5))
    study.process.send_signal(signal.SIGINT)


def kill_a_worker(study: Started, dice: random.Random) -> None:
    if workers := study.workers():
        _kill(dice.choice(workers))


def kill_everything(study: Started, dice: random.Random) -> None:
    for pid in [study.process.pid, *marked(study.base)]:
        _kill(pid)


type Kill = Callable[[Started, random.Random], None]
KINDS: list[Kill] = [
    kill_the_parent,
    kill_a_worker,
    kill_everything,
    terminate_the_parent,
    interrupt_twice,
]


def marked(base: Path) -> list[int]:
    """Living processes that were started by a study with this folder, directly or not."""
    own = f"{MARK}={base}".encode()
    return [pid for pid in _processes() if own in _read(pid, "environ").split(b"\0")]


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def left_over(base: Path) -> list[int]:
    """Processes that live on although they had time to end."""
    end = time.monotonic() + PATIENCE
    while (found := marked(base)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def table(base: Path) -> dict[tuple[str, str], dict[str, str]]:
    """`runs.csv` by variant and seed, without what may differ, and with the name of each run's folder."""
    with (base / "studies" / "chaos" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        kept = {k: v for k, v in row.items() if k not in FREE and not k.startswith(("cost.", "provenance."))}
        found[row["variant"], row["seed"]] = {**kept, "run": Path(row["folder"]).name}
    assert len(found) == len(rows), "a run stands twice in runs.csv"
    return found


def curves(base: Path) -> dict[str, list[dict[str, str]]]:
    """`metrics.csv` of each run, without times."""
    found = {}
    for file in sorted(base.glob("runs/*/metrics.csv")):
        with file.open() as opened:
            rows = list(csv.DictReader(opened))
        found[file.parent.name] = [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows
        ]
    return found


def differences(undisturbed: Path, base: Path) -> list[str]:
    """What a study that was killed has otherwise, in sentences."""
    found = []
    expected, given = table(undisturbed), table(base)
    if list(expected) != list(given):
        found.append(f"rows: {list(given)} instead of {list(expected)}")
    for key in expected.keys() & given.keys():
        for column in expected[key].keys() | given[key].keys():
            values = expected[key].get(column), given[key].get(column)
            if values[0] != values[1]:
                found.append(f"{key} {column}: {values[1]!r} instead of {values[0]!r}")
    lines = curves(undisturbed), curves(base)
    if lines[0].keys() != lines[1].keys():
        found.append(f"records: {sorted(lines[1])} instead of {sorted(lines[0])}")
    found += [f"{run}: metrics.csv" for run in lines[0].keys() & lines[1].keys() if lines[0][run] != lines[1][run]]
    found += [f"{path}: an archive" for path in base.glob("runs/*/archive")]
    found += [f"{path}: a claim without a holder" for path in base.glob("runs/*/claim")]
    found += [f"{path}: half a file" for path in base.rglob("*.part")]
    return found


class Disturber:
    """Kills studies at random shares of the time that one takes.

    Args:
        folder: of all studies.
        words: of the command line.
        kinds: of kills that are left to make.
        duration: of a study that nobody disturbed, in seconds.
        dice: for moments and victims.
    """

    def __init__(self, folder: Path, words: list[str], kinds: list[Kill], duration: float, dice: random.Random) -> None:
        self._folder = folder
        self._words = words
        self._duration = duration
        self._dice = dice
        self.kinds = kinds
        self.kills: list[dict[str, Any]] = []

    def round(self, name: str) -> int:
        """Start, kill, start again, until the study ends; the exit status of the last start."""
        status = 1
        for start in range(1, STARTS + 1):
            study = Started(self._folder, self._words, name)
            began = time.monotonic()
            moment = self._dice.uniform(0.2, 0.9) * self._duration
            many = sum(kill["round"] == name for kill in self.kills) == KILLS_A_ROUND
            if self.kinds and not many:
                if not study.ended(within=moment):
                    self._kill(study, name, start, moment)
                elif start == 1:  # other work on the machine has ended since
                    self._duration = min(self._duration, time.monotonic() - began)
            status = study.process.wait()
            if status == 0:
                break
        return status

    def _kill(self, study: Started, name: str, start: int, moment: float) -> None:
        kind = self.kinds[0]
        while kind is kill_a_worker and not study.workers():
            if study.ended(within=0.1):
                return
        runs = {"done": study.count("result.json"), "with_checkpoint": study.count("checkpoints/last.ckpt")}
        self.kills.append({"round": name, "start": start, "kind": kind.__name__, "moment": moment, **runs})
        self.kinds.pop(0)(study, self._dice)


def prepare(folder: Path) -> None:
    """Write the study's file."""
    (folder / "study").mkdir(parents=True)
    (folder / "study" / "chaos.yaml").write_text(STUDY)


def main(folder: Path, given: argparse.Namespace) -> None:
    folder = folder.resolve()
    prepare(folder)
    words = [f"study.seeds={given.seeds}", f"epochs={given.epochs}", f"hydra.launcher.slots_per_device={given.slots}"]
    began = time.monotonic()
    study = Started(folder, words, "undisturbed")
    assert study.process.wait() == 0, study.log.read_text()
    duration = time.monotonic() - began
    dice = random.Random(given.seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(given.kills)]
    dice.shuffle(kinds)
    disturber = Disturber(folder, words, kinds, duration, dice)
    report: dict[str, Any] = {"duration": duration, "kills": disturber.kills, "rounds": []}
    while disturber.kinds:
        name = f"round-{len(report['rounds']) + 1}"
        status = disturber.round(name)
        base = folder / name
        found = differences(study.base, base) if status == 0 else ["it never ended"]
        report["rounds"].append({"status": status, "left_over": left_over(base), "differences": found})
        if status:
            break
    report["seconds"] = time.monotonic() - began
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for option, default in {"kills": 10, "seed": 0, "seeds": 2, "epochs": 3, "slots": 2}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parsed = parser.parse_args()
    main(parsed.folder, parsed)
