"""Real trainings in slots: their digits and identities are those of processes of their own."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from helpers import run_train
from hydra_plugins.slots_launcher import SlotsLauncher
from terrablate.errors import ConfigError
from terrablate.study.outcome import Outcome
from terrablate.study.slots import Settings, run_jobs
from terrablate.training import pictures

TESTS = Path(__file__).resolve().parents[1]
TINY = "data.train=40 data.val=20 data.test=10 data.size=16 batch_size=8 model=small_cnn model.width=4 epochs=2"
GRID = [f"trainer=cpu aug={aug} {rest}" for aug in ("none", "flip") for rest in ("dropout=head", "optim=sgd")]


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """`result.json` of each run, by the name of its folder, without what it cost."""
    found = sorted((folder / "runs").glob("[!.]*"))
    return {run.name: {**json.loads((run / "result.json").read_text()), "cost": None} for run in found}


def curves(folder: Path, run: str) -> list[dict[str, str]]:
    with (folder / "runs" / run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def drawn(folder: Path, run: str) -> dict[str, bytes]:
    """The pictures of a run, by their names; none is left to be drawn."""
    place = folder / "runs" / run
    assert not (place / pictures.FILE).exists()
    found = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*.png")}
    assert {"curves.png", "augmentations.png", "worst/00.png"} <= set(found)
    return found


def jobs(folder: Path, given: list[str]) -> list[str]:
    return [f"{TINY} {words} runs_dir={folder / 'runs'} packs_dir={folder.parent / 'packs'}" for words in given]


def in_slots(folder: Path, given: list[str], slots: int) -> list[Outcome]:
    """The runs in a pool."""
    settings = Settings(logs=folder / "logs", devices="cpu", slots_per_device=slots, runner="tiny_runs:run")
    return run_jobs([words.split() for words in jobs(folder, given)], settings)


@pytest.fixture(autouse=True)
def _tiny_runs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)


@pytest.mark.slow
def test_four_runs_in_two_slots_have_the_digits_of_four_processes(tmp_path: Path) -> None:
    swept, plain = tmp_path / "swept", tmp_path / "plain"
    outcomes = in_slots(swept, GRID, slots=2)
    assert [each.kind for each in outcomes] == 4 * ["complete"]
    alone = [f"{words} trainer.threads=1" for words in jobs(plain, GRID)]
    done = subprocess.run([sys.executable, TESTS / "tiny_runs.py", *alone], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(records(plain)) == 4
    assert records(swept) == records(plain)
    for run in records(plain):
        assert curves(swept, run) == curves(plain, run)
        assert drawn(swept, run) == drawn(plain, run)
    for outcome in outcomes:
        assert float(outcome) == records(swept)[Path(str(outcome.folder)).name]["deployed"]["accuracy/val"]


@pytest.mark.slow
def test_a_multi_device_run_in_a_slot_trains_every_batch_once_and_a_mistake_spends_no_worker(tmp_path: Path) -> None:
    ddp = "trainer=ddp trainer.accelerator=cpu trainer.devices"
    outcomes = in_slots(tmp_path, [f"{ddp}=2", "optim.lrr=1", f"{ddp}=1"], slots=1)
    assert [each.kind for each in outcomes] == ["complete", "refused", "complete"]
    assert (outcomes[1].reason or "").startswith("optim.lrr: there is no such key (did you mean lr?)")
    hardware = [result["provenance"]["hardware"] for result in records(tmp_path).values()]
    assert sorted((each["world_size"], each["threads"]) for each in hardware) == [(1, 1), (2, 1)]
    for run in records(tmp_path):
        assert [row["step"] for row in curves(tmp_path, run)] == ["5", "10"]  # 40 images in batches of 8
    assert len(list((tmp_path / "logs").iterdir())) == 1


@pytest.mark.slow
def test_the_launcher_trains_the_runs_of_a_sweep(tmp_path: Path) -> None:
    sweep = ("-m", "hydra/launcher=slots", "trainer=cpu", "seed=0,1", f"studies_dir={tmp_path / 'studies'}")
    done = run_train(tmp_path, *sweep, *TINY.split())
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stderr.splitlines() if "complete " in line] == [
        ["[1/2]", "complete"],
        ["[2/2]", "complete"],
    ]
    assert [result["seed"] for result in records(tmp_path).values()] == [0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slots_per_device": 0}, r"^hydra\.launcher\.slots_per_device=0: expected a whole number of at least 1"),
        ({"devices": [77]}, r"^hydra\.launcher\.devices=\[77\]: there "),
        ({"devices": "gpu"}, r"^hydra\.launcher\.devices=gpu: expected auto, cpu, or "),
        ({"devices": [0, 0]}, r"^hydra\.launcher\.devices=\[0, 0\]: expected auto, cpu, or different "),
        ({"run_timeout": -1}, r"^hydra\.launcher\.run_timeout=-1: expected seconds"),
    ],
)
def test_mistakes_in_the_launchers_keys_are_told(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    launcher = SlotsLauncher(**{"slots_per_device": "auto", "devices": "auto", "run_timeout": None} | given)
    config = {"hydra": {"overrides": {"hydra": []}}, "runs_dir": str(tmp_path), "trainer": {"accelerator": "auto"}}
    launcher.setup(hydra_context=None, task_function=None, config=OmegaConf.create(config))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        launcher.launch([["seed=0"]], 0)
