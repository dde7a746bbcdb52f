"""Hydra's launcher plugin `hydra/launcher=slots`: runs of a sweep go to warm workers, one or more on each device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from terrablate.study.outcome import Outcome


@dataclass
class SlotsLauncherConf:
    """Keys of `hydra.launcher`."""

    _target_: str = "hydra_plugins.slots_launcher.SlotsLauncher"
    slots_per_device: Any = "auto"
    """Workers on each device; auto: one a GPU, one a core on the CPU."""
    devices: Any = "auto"
    """auto, cpu, or numbers of GPUs: `[0,1]`."""
    run_timeout: Any = None
    """Seconds after which a run is ended; null: what `study.run_timeout` says."""


ConfigStore.instance().store(group="hydra/launcher", name="slots", node=SlotsLauncherConf, provider="terrablate")


class SlotsLauncher(Launcher):
    """Trains the runs of a sweep in a pool of workers; a run that fails stops no other."""

    on_outcome: "Callable[[int, Outcome], None] | None" = None
    """Told the number of a job in the sweep and its outcome as each ends; a sweeper may set it."""
    logs: Path | None = None
    """Folder for the workers' logs, if a sweeper wants them elsewhere than below `runs_dir`."""

    def __init__(self, slots_per_device: Any, devices: Any, run_timeout: Any) -> None:
        self._slots_per_device = slots_per_device
        self._devices = devices
        self._run_timeout = run_timeout
        self._config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the config of the sweep; workers compose those of its runs."""
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all runs.

        Returns:
            In the order of `job_overrides`, with an `Outcome` as value, also of runs that failed; to sweepers other
            than ours, runs without a number are failed jobs.

        Raises:
            ConfigError: for keys of `hydra.launcher` that make no sense.
            UserError: if workers cannot be started.
            KeyboardInterrupt: after Ctrl-C or SIGTERM.
        """
        from terrablate.commands import failure_for_sweeper, is_foreign
        from terrablate.study.slots import run_jobs

        assert self._config is not None
        of_hydra = OmegaConf.to_container(self._config.hydra.overrides.hydra)
        assert isinstance(of_hydra, list)
        shared = [word for word in of_hydra if word.startswith("hydra.searchpath=")]
        jobs = [[*shared, *overrides] for overrides in job_overrides]

        def tell(index: int, outcome: "Outcome") -> None:
            if self.on_outcome is not None:
                self.on_outcome(initial_job_idx + index, outcome)

        outcomes = run_jobs(jobs, self._settings(), tell)
        if is_foreign(self._config.hydra):  # Optuna's sweeper writes there what it found
            Path(self._config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        return [
            _returned(overrides, outcome, failure_for_sweeper(outcome, self._config.hydra))
            for overrides, outcome in zip(job_overrides, outcomes, strict=True)
        ]

    def _settings(self) -> Any:
        from terrablate.errors import ConfigError
        from terrablate.study.slots import Settings

        config = self._config
        assert config is not None
        seconds = OmegaConf.select(config, "study.run_timeout") if self._run_timeout is None else self._run_timeout
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and seconds > 0):
            raise ConfigError(f"hydra.launcher.run_timeout={seconds}: expected seconds, more than 0, or null")
        wanted: Any = OmegaConf.to_container(self._devices) if OmegaConf.is_config(self._devices) else self._devices
        if wanted == "auto" and OmegaConf.select(config, "trainer.accelerator") == "cpu":
            wanted = "cpu"
        name = OmegaConf.select(config, "study.name")
        folder = Path(config.studies_dir) / str(name) / "logs" if name is not None else Path(config.runs_dir) / ".logs"
        return Settings(
            logs=self.logs or folder,
            slots_per_device=self._slots_per_device,
            devices=wanted,
            run_timeout=seconds,
        )


def _returned(overrides: Sequence[str], outcome: "Outcome", failure: Exception | None) -> JobReturn:
    status = JobStatus.FAILED if failure else JobStatus.COMPLETED
    return JobReturn(overrides=list(overrides), status=status, _return_value=failure or outcome)
