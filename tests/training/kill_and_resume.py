"""Runs in a process of its own: kills trainings with SIGKILL at chosen places, resumes them, and compares the records.

Usage: python kill_and_resume.py FOLDER. Writes FOLDER/report.json: for each scenario and place, what differs from an
undisturbed run. Each training is a fork of this process, which has imported torch and never trained.
"""

import csv
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import lightning
import numpy as np
import torch

from helpers import compose_in, import_what_runs_end_with
from terrablate.training.classifier import Classifier
from terrablate.training.epoch_end import EpochEnd
from terrablate.training.record import Record
from terrablate.training.run import run

TINY = (
    "data.train=48 data.val=20 data.test=10 data.size=16 batch_size=16 model=small_cnn model.width=4 epochs=5 "
    "trainer=cpu trainer.threads=1 trainer.checkpoint_seconds=0"
).split()
SCENARIOS = {
    "cosine": ["dropout=head", "norm=batch", "aug=flip_color", "schedule=cosine"],
    "plateau": ["dropout=head", "schedule=plateau", "schedule.patience=0", "schedule.threshold=1.0", "optim=sgd"],
    "early": ["stop=early", "stop.patience=2", "stop.min_delta=5.0", "optim=sgd", "optim.momentum=0.9"],
    "prune": [
        "dropout=head",
        "norm=batch",
        "regularize=[prune,ema]",
        "regularize.prune.start=0.2",
        "regularize.prune.end=0.8",
        "regularize.prune.rounds=3",
        "regularize.ema.decay=0.8",
    ],
    "steps": ["steps=13", "eval_every=2", "aug=flip"],
}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_epoch() -> None:
    whole = Classifier.training_step

    def step(self: Classifier, batch: object, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 2 and batch_idx == 1:
            kill()
        return whole(self, batch, batch_idx)

    Classifier.training_step = step


def in_the_evaluation() -> None:
    whole = Classifier.collect_logits
    calls = []

    def collect(self: Classifier, *arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            kill()
        return whole(self, *arguments)

    Classifier.collect_logits = collect


def in_saving_the_checkpoint() -> None:
    whole = lightning.Trainer.save_checkpoint
    calls = []

    def save(self: lightning.Trainer, path: Path, *arguments: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            Path(path).write_bytes(b"half a checkpoint")
            kill()
        whole(self, path, *arguments)

    lightning.Trainer.save_checkpoint = save


def between_best_and_last() -> None:
    whole = lightning.Trainer.save_checkpoint
    calls = []

    def save(self: lightning.Trainer, path: Path, *arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            kill()
        whole(self, path, *arguments)

    lightning.Trainer.save_checkpoint = save


def after_the_last_epoch() -> None:
    """Everything is trained; `result.json` is not there yet."""
    whole = Record.write

    def write(self: Record, name: str, *arguments: object) -> Path:
        if name == "result.json":
            kill()
        return whole(self, name, *arguments)

    Record.write = write


def before_the_first_checkpoint() -> None:
    whole = EpochEnd.on_train_epoch_end

    def end(self: EpochEnd, *arguments: object) -> None:
        kill()
        whole(self, *arguments)

    EpochEnd.on_train_epoch_end = end


PLACES: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        in_the_epoch,
        in_the_evaluation,
        in_saving_the_checkpoint,
        between_best_and_last,
        after_the_last_epoch,
        before_the_first_checkpoint,
    )
}


def in_a_fork(action: Callable[[], object]) -> int:
    """Wait status of a fork that runs the action."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def differences(undisturbed: Path, resumed: Path) -> list[str]:
    """What differs between two records, but for times and memory."""
    found = []
    rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (undisturbed, resumed)]
    for row in [*rows[0], *rows[1]]:
        del row["seconds"], row["images_per_second"]
    if rows[0] != rows[1]:
        found.append("metrics.csv")
    results = [json.loads((folder / "result.json").read_text()) for folder in (undisturbed, resumed)]
    for result in results:
        del result["cost"]
    found += [f"result.json {key}" for key in results[0] if results[0][key] != results[1].get(key)]
    for name in ("best", "last"):
        states = [
            torch.load(folder / "checkpoints" / f"{name}.ckpt")["state_dict"] for folder in (undisturbed, resumed)
        ]
        found += [f"{name}.ckpt {key}" for key in states[0] if not torch.equal(states[0][key], states[1][key])]
    arrays = [np.load(folder / "val_predictions.npz") for folder in (undisturbed, resumed)]
    found += [f"predictions {key}" for key in arrays[0] if not np.array_equal(arrays[0][key], arrays[1][key])]
    return found


def main(base: Path) -> None:
    import_what_runs_end_with()
    report: dict[str, dict[str, object]] = {}
    for scenario, overrides in SCENARIOS.items():
        reference = compose_in(base / scenario / "undisturbed", *TINY, *overrides)
        assert in_a_fork(lambda config=reference: run(config)) == 0
        (undisturbed,) = Path(reference.runs_dir).iterdir()
        for place, install in PLACES.items():
            config = compose_in(base / scenario / place, *TINY, *overrides, packs_dir=reference.packs_dir)

            def killed(config: object = config, install: Callable[[], None] = install) -> None:
                install()
                run(config)

            status = in_a_fork(killed)
            folder = Path(config.runs_dir) / undisturbed.name
            complete_too_early = (folder / "result.json").exists()
            resumed = in_a_fork(lambda config=config: run(config))
            report[f"{scenario}/{place}"] = {
                "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
                "complete_too_early": complete_too_early,
                "resumed": resumed,
                "differences": differences(undisturbed, folder) if resumed == 0 else ["not resumed"],
            }
    (base / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
