"""Hydra's Optuna sweeper: searches settings by val accuracy."""

from pathlib import Path

import pytest
import yaml

from foreign_launchers import records, sweep

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra tuning")
pytestmark = pytest.mark.slow
OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "trainer=cpu", "hydra.sweeper.n_trials=2")


def best(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "runs" / ".multirun" / "optimization_results.yaml").read_text())


@pytest.mark.parametrize("launcher", ["basic", "slots"])
def test_the_better_of_two_trials_is_preferred(tmp_path: Path, launcher: str) -> None:
    rates = ("data.train=200", "data.val=50", "model.width=8", "epochs=4", "optim.lr=choice(1e-9,0.01)")
    words = ("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", f"hydra/launcher={launcher}")
    done = sweep(tmp_path, *OPTUNA, *rates, *words, f"hydra.sweeper.storage=sqlite:///{tmp_path}/trials.db")
    assert done.returncode == 0, done.stderr
    reached = [result["deployed"]["accuracy/val"] for result in records(tmp_path).values()]
    assert len(reached) == 2
    assert best(tmp_path) == {"name": "optuna", "best_params": {"optim.lr": 0.01}, "best_value": max(reached)}
    assert max(reached) > min(reached)


@pytest.mark.parametrize(("rate", "status"), [("0", 2), ("1", 0)])
def test_a_trial_without_accuracy_fails_the_search_unless_some_may(tmp_path: Path, rate: str, status: int) -> None:
    trials = ("loss=choice(focal,weighted)", "hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=1")
    words = ("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3", "hydra/launcher=basic")
    done = sweep(tmp_path, *OPTUNA, *trials, *words, f"hydra.sweeper.max_failure_rate={rate}")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if status:
        assert done.stderr.splitlines()[-1].startswith("error: no val accuracy: loss=weighted: all classes")
    else:
        assert best(tmp_path)["best_params"] == {"loss": "focal"}
