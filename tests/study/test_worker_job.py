"""Nothing of a run survives in the process that trains the next one."""

import contextlib
import dataclasses
import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.study import worker_job
from terrablate.study.outcome import Outcome


@pytest.fixture
def as_found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The context manager of a worker, in which this process counts as fresh."""
    monkeypatch.setattr(worker_job, "_FRESH", worker_job._ProcessState())
    worker_job._composed.cache_clear()
    return worker_job._as_found


def state() -> list[Any]:
    """What a run may change."""
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]  # noqa: NPY002
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        Path.cwd(),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        list(warnings.filters),
    ]


def disturb(tmp_path: Path) -> None:
    random.random()
    np.random.random()  # noqa: NPY002
    torch.rand(1)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_grad_enabled(False)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic = not torch.backends.cudnn.deterministic
    os.environ["MASTER_PORT"] = "1"
    os.environ.pop("OMP_NUM_THREADS")
    os.chdir(tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("error")


def test_a_run_leaves_the_process_as_it_was(as_found: Any, tmp_path: Path) -> None:
    before = state()
    with as_found():
        disturb(tmp_path)
        changed = state()
    assert [index for index, (one, two) in enumerate(zip(before, changed, strict=True)) if one == two] == []
    assert state() == before


def test_so_does_a_run_that_fails(as_found: Any, tmp_path: Path) -> None:
    before = state()

    def fail() -> None:
        with as_found():
            disturb(tmp_path)
            raise RuntimeError("on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        fail()
    assert state() == before


def test_open_figures_and_wandb_runs_are_closed(as_found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    closed: list[int] = []
    wandb = type("Module", (), {"run": "open", "finish": lambda exit_code: closed.append(exit_code)})
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)
    with as_found():
        pyplot.figure()
    assert pyplot.get_fignums() == []
    assert closed == [1]


@pytest.mark.parametrize(
    ("given", "threads"),
    [(["trainer=cpu"], 1), (["trainer=auto"], 1), (["trainer=cpu", "trainer.threads=2"], 2)],
)
def test_a_run_on_the_cpu_has_one_thread_unless_told_otherwise(
    as_found: Any, monkeypatch: pytest.MonkeyPatch, given: list[str], threads: int
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        worker_job, "train_and_tell", lambda config, **_: seen.append(config.trainer.threads) or Outcome()
    )
    worker_job.run_job(given, {})
    assert seen == [threads]


def test_a_run_on_a_gpu_keeps_the_threads_that_it_has_elsewhere(as_found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        worker_job, "train_and_tell", lambda config, **_: seen.append(config.trainer.threads) or Outcome()
    )
    worker_job.run_job(["trainer=auto"], {})
    assert seen == [None]


def test_a_multi_device_run_has_the_environment_of_a_plain_command(
    as_found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def command(script: str, overrides: list[str]) -> Outcome:
        seen.append(
            (Path(script).name, overrides, os.environ.get("CUDA_VISIBLE_DEVICES"), "OMP_NUM_THREADS" in os.environ)
        )
        return Outcome()

    monkeypatch.setattr(worker_job, "in_process_of_its_own", command)
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    worker_job.run_job(ddp, {"CUDA_VISIBLE_DEVICES": "4,5", "OMP_NUM_THREADS": None})
    assert seen == [("train.py", [*ddp, "trainer.threads=1"], "4,5", False)]


def test_config_files_are_read_once_for_all_runs_of_a_worker(as_found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra._internal.config_repository import ConfigRepository

    seen: list[Any] = []
    read: list[str] = []
    load = ConfigRepository.load_config

    def counted(self: ConfigRepository, config_path: str) -> Any:
        read.append(config_path)
        return load(self, config_path)

    monkeypatch.setattr(ConfigRepository, "load_config", counted)
    monkeypatch.setattr(worker_job, "_FILES", {})
    monkeypatch.setattr(worker_job, "train_and_tell", lambda config, **_: seen.append(config) or Outcome())
    worker_job.run_job(["seed=1", "model=lenet", "optim.lr=0.5"], {})
    assert read
    read.clear()
    worker_job.run_job(["seed=2", "model=lenet"], {})
    assert read == []
    worker_job.run_job(["seed=2", "model=resnet20"], {})
    assert read == ["model/resnet20"]
    assert [(config.seed, config.model.name, config.optim.lr == 0.5) for config in seen] == [
        (1, "lenet", True), (2, "lenet", False), (2, "resnet20", False),
    ]  # fmt: skip


def test_the_seeds_of_a_variant_are_composed_once_and_each_has_what_follows_from_its_seed(
    as_found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hydra

    seen: list[Config] = []
    composed: list[list[str]] = []
    compose = hydra.compose

    def counted(config_name: str, overrides: list[str]) -> Any:
        composed.append(overrides)
        return compose(config_name, overrides=overrides)

    monkeypatch.setattr(hydra, "compose", counted)
    monkeypatch.setattr(worker_job, "train_and_tell", lambda config, **_: seen.append(config) or Outcome())
    for seed in (3, 4):
        worker_job.run_job(["model=lenet", f"seed={seed}", "data.subset_seed=${seed}"], {})
    assert composed == [["model=lenet", "data.subset_seed=${seed}"]]
    assert [(config.seed, config.data.subset_seed) for config in seen] == [(3, 3), (4, 4)]
    assert dataclasses.replace(seen[0], seed=4, data=seen[1].data) == seen[1]

    for odd in (["seed=1", "seed=2"], ["seed=-1"]):  # Hydra takes the last, and we refuse the other
        composed.clear()
        with contextlib.suppress(ConfigError):
            worker_job.run_job(odd, {})
        assert composed == [odd]
