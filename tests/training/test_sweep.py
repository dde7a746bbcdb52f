"""Several runs from one command: Hydra's multirun."""

import json
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from ddp_sweep import DDP_GRID, check_ddp_grid
from helpers import run_train
from terrablate.commands import _Job, failure_for_sweeper, hydra_command
from terrablate.config import Config
from terrablate.study import job
from terrablate.study.outcome import Outcome
from terrablate.training.record import Record

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
@pytest.mark.parametrize("launcher", [("basic",), ("slots", "hydra.launcher.slots_per_device=1")])
def test_runs_on_several_devices_train_on_every_batch_once(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    done = run_train(tmp_path, "-m", *DDP_GRID, f"hydra/launcher={launcher[0]}", *launcher[1:])
    assert done.returncode == 0, done.stderr
    check_ddp_grid(tmp_path)


def test_what_a_sweeper_is_not_installed_for_names_the_extra(tmp_path: Path) -> None:
    with_extras = {"launcher=ray": "hydra_ray_launcher", "sweeper=optuna": "hydra_optuna_sweeper"}
    missing = {word: name for word, name in with_extras.items() if find_spec(f"hydra_plugins.{name}") is None}
    if not missing:
        pytest.skip("all extras are installed")
    for word in missing:
        done = run_train(tmp_path, "-m", f"hydra/{word}", "seed=0,1")
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: hydra/{word}: is not installed; it comes with the extra '")


def test_a_process_that_only_helps_ends_well_before_the_record_is_there(
    tmp_path: Path, compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status of its own would have Lightning kill the process that still writes."""
    monkeypatch.setattr(job, "run", lambda config, **_: Record(tmp_path))
    config = compose()
    assert job.train_and_tell(config).status == 1
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert job.train_and_tell(config).status == 0


def test_other_sweepers_are_told_of_jobs_without_a_number() -> None:
    def told(sweeper: str, outcome: Outcome) -> tuple[str, int] | None:
        settings = SimpleNamespace(runtime=SimpleNamespace(choices={"hydra/sweeper": sweeper}))
        failure = failure_for_sweeper(outcome, settings)
        return None if failure is None else (str(failure), failure.status)

    refused, diverged = Outcome(status=2, kind="refused", reason="no data"), Outcome(kind="diverged")
    assert [told("study", each) for each in (refused, diverged, Outcome(0.5))] == [None, None, None]
    assert told("optuna", refused) == ("no val accuracy: no data", 2)
    assert told("optuna", diverged) == ("no val accuracy: diverged", 1)
    assert told("optuna", Outcome(0.5)) is None


def test_a_job_that_another_process_loads_knows_our_folders() -> None:
    OmegaConf.clear_resolver("project")
    copy = pickle.loads(pickle.dumps(_Job(hydra_command, "train")))
    assert (copy.__wrapped__, copy.statuses) == (hydra_command, [])
    assert OmegaConf.has_resolver("project")
