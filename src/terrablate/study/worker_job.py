"""What a warm worker does with a job: compose, train, and leave the process as it was found. Imports torch at once.

Pictures are not drawn: `slots` does that meanwhile.
"""

import contextlib
import copy
import dataclasses
import functools
import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from terrablate.commands import in_process_of_its_own
from terrablate.config import Config, parse
from terrablate.config.choices import CONF, PROJECT
from terrablate.config.resolvers import register
from terrablate.study.composer import Files, read_files_once
from terrablate.study.job import train_and_tell
from terrablate.study.outcome import Outcome
from terrablate.training import claim

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TRAIN = PROJECT / "src" / "train.py"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)


def run_job(overrides: Sequence[str], environment: Mapping[str, str | None]) -> Outcome:
    """Train one run.

    On the CPU it has one thread unless its config says otherwise, however many runs stand beside it: the number of
    threads belongs to a run's identity.

    Args:
        overrides: of `conf/train.yaml`.
        environment: what a process of its own sets, or unsets; for a run on several devices.

    Raises:
        Busy: if another process trains the run.
        UserError: for a mistake in config, data or weights.
        KeyboardInterrupt: after SIGTERM.
    """
    with _as_found():
        sys.argv = [str(_TRAIN), *overrides]
        config = _compose(overrides)
        if config.trainer.threads is None and (config.trainer.accelerator == "cpu" or not torch.cuda.is_available()):
            config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, threads=1))
        if config.trainer.devices != 1:
            return _in_process_of_its_own(config, overrides, environment)
        return train_and_tell(config, draws=False)


def _compose(overrides: Sequence[str]) -> Config:
    """The config of a run; of a study's seeds Hydra composes the first, whose seed is then another."""
    seeds = [word for word in overrides if word.startswith("seed=")]
    others = tuple(word for word in overrides if not word.startswith("seed="))
    if len(seeds) != 1 or not (number := seeds[0].removeprefix("seed=")).isdecimal():
        return parse(_composed(tuple(overrides)))
    config = copy.deepcopy(_composed(others))
    config.seed = int(number)
    return parse(config)


@functools.lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...]) -> "DictConfig":
    """Not resolved: what is derived from the seed still follows it."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        read_files_once(GlobalHydra.instance().config_loader(), _FILES)
        return compose("train", overrides=list(overrides))


def _in_process_of_its_own(config: Config, overrides: Sequence[str], environment: Mapping[str, str | None]) -> Outcome:
    """Ranks of a multi-device run re-execute the command line, which has to be the run's own."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    threads = [f"trainer.threads={config.trainer.threads}"] if config.trainer.threads else []
    outcome = in_process_of_its_own(str(_TRAIN), [*overrides, *threads])
    if outcome.kind == "refused" and outcome.folder is None and (folder := claim.reported()) and claim.held(folder):
        outcome.kind = "busy"
    return outcome


@contextlib.contextmanager
def _as_found() -> Iterator[None]:
    """Begin as a fresh process does, and leave nothing of a run behind."""
    _FRESH.restore()
    with contextlib.suppress(OSError):  # the peak of the process's memory counts from here, where the system can
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    try:
        with warnings.catch_warnings():
            yield
    finally:
        _close_what_is_open()
        _FRESH.restore()


def _close_what_is_open() -> None:
    wandb, pyplot = sys.modules.get("wandb"), sys.modules.get("matplotlib.pyplot")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=1)
    if pyplot is not None:
        pyplot.close("all")
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


class _ProcessState:
    """What a run may change in a process, as it is now."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._folder = Path.cwd()
        self._arguments = list(sys.argv)
        self._signals = {number: signal.getsignal(number) for number in _SIGNALS}
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        self._seed = torch.initial_seed()
        self._dtype = torch.get_default_dtype()
        self._threads = torch.get_num_threads()
        self._grad = torch.is_grad_enabled()
        self._matmul = torch.get_float32_matmul_precision()
        self._deterministic = torch.are_deterministic_algorithms_enabled()
        self._deterministic_warns = torch.is_deterministic_algorithms_warn_only_enabled()
        cudnn = torch.backends.cudnn
        self._cudnn = cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32

    def restore(self) -> None:
        """Make it so again."""
        os.environ.clear()
        os.environ.update(self._environment)
        os.chdir(self._folder)
        sys.argv = list(self._arguments)
        for number, handler in self._signals.items():
            signal.signal(number, handler)
        python, numpy, generator = self._random
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(generator)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(self._seed)
        torch.set_default_dtype(self._dtype)
        torch.set_num_threads(self._threads)
        torch.set_grad_enabled(self._grad)
        torch.set_float32_matmul_precision(self._matmul)
        deterministic = self._deterministic, self._deterministic_warns
        if deterministic != (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ):  # saying so imports torch's compiler
            torch.use_deterministic_algorithms(self._deterministic, warn_only=self._deterministic_warns)
        cudnn: Any = torch.backends.cudnn
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = self._cudnn


_FRESH = _ProcessState()
_FILES: Files = {}
"""Config files that were read for earlier runs; those of a study are composed from the same ones."""
