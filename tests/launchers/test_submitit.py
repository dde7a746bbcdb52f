"""Hydra's submitit launcher: on this machine, and on a SLURM that commands of a few lines play."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ddp_sweep import DDP_GRID, check_ddp_grid
from foreign_launchers import check_grid, sweep

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra launchers")

SBATCH = """#!{python}
# Starts the tasks of an array at once, each with one process, as `srun` in a job with one task does.
import os, re, subprocess, sys
options = dict(re.findall(r"^#SBATCH --([\\w-]+)(?:=(.*))?$", open(sys.argv[-1]).read(), re.MULTILINE))
open({options!r}, "w").write(repr(options))
first, last = re.match(r"(\\d+)-(\\d+)", options["array"]).groups()
for task in range(int(first), int(last) + 1):
    number = dict(SLURM_ARRAY_JOB_ID="77", SLURM_ARRAY_TASK_ID=str(task), SLURM_JOB_ID=str(770 + task))
    place = dict(SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_JOB_NODELIST="here", SLURM_NNODES="1")
    names = dict(SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1", SLURM_JOB_NAME="train", SLURM_NTASKS_PER_NODE="1")
    subprocess.Popen(
        ["bash", sys.argv[-1]], env=os.environ | number | place | names, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
print("Submitted batch job 77")
"""
SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do case $1 in --output|--error) shift 2;; *) shift;; esac; done
exec "$@"
"""
SACCT = """#!/usr/bin/env bash
echo 'JobID|State|NodeList'
for task in 0 1; do echo "77_$task|RUNNING|here"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of a cluster of one machine; the file with the options that `sbatch` was given."""
    folder, options = tmp_path / "bin", tmp_path / "options"
    folder.mkdir()
    for name, text in {
        "sbatch": SBATCH.replace("{python}", sys.executable).replace("{options!r}", repr(str(options))),
        "srun": SRUN,
        "sacct": SACCT,
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return options


@pytest.mark.slow
def test_every_run_has_its_record_and_its_row(tmp_path: Path) -> None:
    check_grid(tmp_path, "hydra/launcher=submitit_local")
    assert list((tmp_path / "runs" / ".multirun" / ".submitit").glob("*/*_log.out"))


def test_the_config_for_slurm_composes() -> None:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.runtime.output_dir=."]
        launcher: Any = compose("train", words, return_hydra_config=True).hydra.launcher
    assert (launcher.partition, launcher.tasks_per_node, launcher.max_num_timeout) == ("gpu", 1, 10)
    assert launcher.additional_parameters == {"requeue": True}
    assert launcher._target_.endswith("SlurmLauncher")
    launcher.submitit_folder = "."
    assert type(instantiate(launcher)).__name__ == "SlurmLauncher"


@pytest.mark.slow
def test_a_job_of_slurm_trains_on_every_batch_once_however_many_devices_it_has(tmp_path: Path, slurm: Path) -> None:
    """Lightning takes the one task of a job for one of as many as there are devices, unless it is told otherwise."""
    words = ("hydra/launcher=slurm", "hydra.launcher.partition=cpu", "hydra.launcher.gpus_per_node=null")
    done = sweep(tmp_path, *DDP_GRID, *words)
    assert done.returncode == 0, done.stderr
    check_ddp_grid(tmp_path)
    given = slurm.read_text()
    for option in ("'partition': 'cpu'", "'requeue': ''", "'signal': 'USR2@120'", "'array': '0-1%2'", "'time': '240'"):
        assert option in given
