"""Two CPU processes train one run: right metrics, every sample once, one record."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment

from helpers import compose_in, run_train
from terrablate.config import Config
from terrablate.config.choices import PROJECT
from terrablate.models.build import build
from terrablate.training.hardware import resolve
from terrablate.training.inputs import Inputs
from terrablate.training.run import prepare
from terrablate.training.trainer import make_trainer

TINY = (
    "data.train=41 data.val=21 data.test=10 data.size=16 batch_size=16 model=small_cnn model.width=4 epochs=3 "
    "aug=flip norm=batch trainer.threads=1"
).split()
DDP = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    done = run_train(folder, *TINY, *DDP, "logger=wandb")
    assert done.returncode == 0, done.stderr
    return folder


def the_record(folder: Path) -> Path:
    (record,) = (folder / "runs").iterdir()
    return record


@pytest.mark.slow
def test_two_processes_leave_one_record_and_one_wandb_run(folder: Path) -> None:
    record = the_record(folder)
    result = json.loads((record / "result.json").read_text())
    assert result["status"] == "complete"
    assert result["provenance"]["hardware"]["world_size"] == 2
    assert len(list((record / "wandb").glob("offline-run-*"))) == 1
    with (record / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    # 41 images in batches of 16: two whole ones and one of 9, of which each process takes a share
    assert [int(row["step"]) for row in rows] == [3, 6, 9]


@pytest.mark.slow
def test_val_accuracy_equals_that_of_one_process_with_the_same_weights(folder: Path) -> None:
    record = the_record(folder)
    config = compose_in(folder, *TINY, "trainer=cpu")
    job = prepare(config)
    pack = job.data.pack
    network = build(config, len(pack.bands), len(pack.classes), pack.image_size).network
    state = torch.load(record / "checkpoints" / "last.ckpt")["state_dict"]
    network.load_state_dict({name.removeprefix("network."): v for name, v in state.items() if "network." in name})
    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    batch = job.data.images("val").take(np.arange(21))
    with torch.no_grad():
        logits = network.eval()(inputs(batch["image"]))
    stored = np.load(record / "val_predictions.npz")
    assert np.array_equal(stored["labels"], batch["label"].numpy())
    assert np.allclose(stored["logits_last"], logits.numpy(), atol=1e-5)
    last = json.loads((record / "result.json").read_text())["last"]
    accuracy = (logits.argmax(1) == batch["label"]).double().mean().item()
    assert last["accuracy/val"] == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.slow
def test_the_same_command_shows_the_done_run(folder: Path) -> None:
    again = run_train(folder, *TINY, *DDP, "logger=wandb")
    assert again.returncode == 0
    assert "done before" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["optim.accumulate=1", "optim.accumulate=2"])
def test_without_batch_statistics_two_processes_train_like_one(tmp_path: Path, optimizer: str) -> None:
    """Gradients are the mean over the whole step, however unevenly its images are shared out."""
    plain = ("norm=native", "aug=none", optimizer)
    for options in (DDP, ("trainer=cpu",)):
        done = run_train(tmp_path, *TINY, *plain, *options)
        assert done.returncode == 0, done.stderr
    tables = []
    for record in (tmp_path / "runs").iterdir():
        with (record / "metrics.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    assert len(tables) == 2
    for one, two in zip(*tables, strict=True):
        for name in ("objective/train", "nll/val", "nll/probe"):
            assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-4)


def test_the_single_task_of_a_slurm_job_starts_its_processes_itself(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lightning would take it for one of as many as there are devices, and train on its share of the batches alone."""

    def environments() -> list[str]:
        config, trainer = compose(*DDP), Mock()
        monkeypatch.setattr("lightning.Trainer", trainer)
        make_trainer(config, resolve(config.trainer), max_epochs=1, callbacks=[], folder=tmp_path)
        given = trainer.call_args.kwargs["plugins"]
        return [type(each).__name__ for each in given if isinstance(each, ClusterEnvironment)]

    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert environments() == []
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert environments() == ["LightningEnvironment"]
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert environments() == []


@pytest.mark.slow
@pytest.mark.parametrize(("to_all", "images"), [(True, 800), (False, 41)])
def test_sigterm_ends_two_processes_at_any_moment(tmp_path: Path, to_all: bool, images: int) -> None:
    """To both, as SLURM does it, or to the first; in a long epoch, or in one of three batches."""
    words = [*TINY, *DDP, f"data.train={images}", "epochs=5000"]
    folders = [f"{name}_dir={tmp_path / name}" for name in ("runs", "packs", "studies")]
    with started_train(*folders, *words) as process:
        until(lambda: any(len(file.read_text().splitlines()) > 2 for file in tmp_path.glob("runs/*/metrics.csv")))
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
        assert process.wait(60) == 130
    assert not list(tmp_path.glob("runs/*/result.json"))  # which would call it failed


@contextmanager
def started_train(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(PROJECT / "src" / "train.py"), *words]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
