"""Hydra's sweeper for studies and grids: plans, checks every variant, hands what is left to the launcher."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class StudySweeperConf:
    """Of `hydra/sweeper=study`."""

    _target_: str = "hydra_plugins.study_sweeper.StudySweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudySweeperConf, provider="terrablate")


class StudySweeper(Sweeper):
    """Expands a study's design, or a grid."""

    config: DictConfig
    launcher: Launcher
    hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run everything that the arguments ask for.

        Raises:
            UserError: if something in the study is wrong.
            SystemExit: with the status of the worst run, if not all of them are complete.
        """
        from terrablate.report.command import write_after_study
        from terrablate.study.sweep import sweep

        return sweep(self.config, arguments, self.hydra_context.config_loader, self.launcher, write_after_study)
