"""Rows `start`, `launch` and `warm`: everything that is not training."""

import subprocess
import sys
import time
from collections.abc import Sequence

import work
from measure import HERE, PROJECT, Figure, Options, alternate, figures, seconds_of

TRAIN = [sys.executable, str(PROJECT / "src" / "train.py")]


def start(options: Options) -> list[Figure]:
    """Seconds until the command has answered."""
    found = alternate(
        {
            "--help": lambda: seconds_of([*TRAIN, "--help"]),
            "--cfg job": lambda: seconds_of([*TRAIN, "--cfg", "job"]),
            "a mistake in the config": lambda: seconds_of([*TRAIN, "optim.lr=fast"], status=2),
        },
        options.repeats,
    )
    targets = dict.fromkeys(found, "1.2 s")
    return figures("start", "s", found, {}, options, targets=targets)


def launch(options: Options) -> list[Figure]:
    """Seconds from the call to the end of the first optimizer step; ours with a pack at hand."""
    rows = []
    for model in ("lenet", "resnet18"):
        ours = [*TRAIN[1:], *work.places(options), *work.eurosat(options), *work.training(model, 1), "trainer=cpu"]
        out = options.scratch / "torchgeo"
        theirs = [str(HERE / "torchgeo_script.py"), f"root={options.data_root / 'eurosat'}", f"out={out}"]
        found = alternate(
            {
                "torchgeo's script": lambda theirs=theirs, model=model: _first_step([*theirs, f"model={model}"]),
                "terrablate": lambda ours=ours: _first_step([*ours, "force=true"]),
            },
            options.repeats,
        )  # the round that warms up writes the pack
        rows += figures(
            f"launch {model}", "s", found, {"terrablate": ["torchgeo's script"]}, options,
            targets={"terrablate": "0.6 of torchgeo's (1.67 x)"}, conditions="EuroSAT, 13 bands, the CPU",
        )  # fmt: skip
    return rows


def _first_step(command: Sequence[str]) -> float:
    began = time.time()
    done = subprocess.run(
        [sys.executable, str(HERE / "until_first_step.py"), *command], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("first step at ")]
    if not told:
        raise RuntimeError(f"{' '.join(command)} took no step:\n{done.stderr[-3000:]}")
    return float(told[-1].rpartition(" ")[2]) - began


def warm(options: Options) -> list[Figure]:
    """Seconds of a run in a warm worker that are neither training nor evaluation."""
    count = options.size(12, 2)
    between, of_all = _runs_in_turn(options, count, "suspects=false")
    looking, _ = _runs_in_turn(options, count, "suspects=true")
    found = {
        "from one run to the next, suspects=false": between,
        "the same, with the look for wrong labels in the train split": looking,
        "CPU time of a whole job, suspects=false": of_all,
    }
    conditions = f"LeNet on EuroSAT, 2 epochs, CSV logger, one thread; {count} runs after the first"
    return figures("warm", "s", found, {}, options, targets={next(iter(found)): "0.3 s"}, conditions=conditions)


def _runs_in_turn(options: Options, count: int, override: str) -> tuple[list[float], list[float]]:
    """Seconds between runs, and CPU seconds of each."""
    words = [*work.eurosat(options), *work.training("lenet", 2, threads=1), "trainer=cpu", "force=true", override]
    words = [word for word in words if not word.startswith("seed=")]
    command = [sys.executable, str(HERE / "warm_runs.py"), str(count), *work.places(options), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("between ")]
    return [float(line[1]) for line in lines], [float(line[2]) for line in lines]
