"""Train one composed run, or with -m every combination: `python src/train.py model=resnet18 aug=flip_color`."""

import sys
from typing import TYPE_CHECKING

from terrablate.commands import hydra_command, in_process_of_its_own, show_help

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from terrablate.study.outcome import Outcome

PURPOSE = "Train a network on Earth-observation images and say whether it overfits."


def train(composed: "DictConfig") -> "Outcome":
    """Validate the composed config, then train."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from terrablate.config import parse
    from terrablate.config.checks.study import check_single

    config = parse(composed)
    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        check_single(config)
    elif config.trainer.devices != 1:
        return in_process_of_its_own(__file__, settings.overrides.task)
    from terrablate.study.job import train_and_tell

    return train_and_tell(config, waits=settings.mode == RunMode.MULTIRUN)


if __name__ == "__main__":
    sys.exit(0 if show_help("python src/train.py", PURPOSE) else hydra_command(train))
