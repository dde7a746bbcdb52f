"""Several runs from one command: Hydra's multirun."""

import json
from pathlib import Path

import pytest

from helpers import run_train

TINY = (
    "data.train=40 data.val=20 data.test=10 data.size=16 model=small_cnn model.width=4 epochs=1 trainer.threads=1"
).split()


def results(folder: Path) -> list[dict[str, object]]:
    return [json.loads((run / "result.json").read_text()) for run in sorted((folder / "runs").glob("[!.]*"))]


@pytest.mark.slow
def test_each_run_of_a_sweep_speaks_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    done = run_train(tmp_path, *TINY, "-m", "trainer=cpu", "loss=focal,weighted,l2", "hydra/launcher=basic")
    assert done.returncode == 2
    assert [done.stderr.count(f"run {number} of the sweep: ") for number in (1, 2, 3)] == [1, 1, 1]
    assert done.stderr.count("error: loss=weighted: all classes have equally many") == 1
    assert "2 complete, 1 refused" in done.stdout
    assert "loss=weighted seed=0: refused: loss=weighted: all classes have" in done.stdout
    assert [result["status"] for result in results(tmp_path)].count("complete") == 2


def test_a_mistake_in_a_sweep_is_told_before_anything_runs(tmp_path: Path) -> None:
    done = run_train(tmp_path, *TINY, "-m", "model.width=4,-1,8", "seed=0,1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: variant 'model.width=-1': model.width=-1: expected ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_multi_device_run_in_a_sweep_trains_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = run_train(
        tmp_path, *TINY, "-m", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1,2", "hydra/launcher=basic"
    )
    assert done.returncode == 0, done.stderr
    provenances = [result["provenance"] for result in results(tmp_path)]
    assert sorted(each["hardware"]["world_size"] for each in provenances) == [1, 2]  # type: ignore[index]
    assert all(result["status"] == "complete" for result in results(tmp_path))
