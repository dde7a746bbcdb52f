"""Hydra's joblib launcher: several processes of one machine."""

from pathlib import Path

import pytest

from ddp_sweep import DDP_GRID, check_ddp_grid
from foreign_launchers import check_grid, sweep

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra launchers")
pytestmark = pytest.mark.slow
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def test_every_run_has_its_record_and_its_row(tmp_path: Path) -> None:
    check_grid(tmp_path, *JOBLIB)


def test_runs_on_several_devices_train_on_every_batch_once(tmp_path: Path) -> None:
    done = sweep(tmp_path, *DDP_GRID, *JOBLIB)
    assert done.returncode == 0, done.stderr
    check_ddp_grid(tmp_path)
