"""Train one composed run, or with -m every combination: `python src/train.py model=resnet18 aug=flip_color`."""

import sys
from typing import TYPE_CHECKING

from terrablate.commands import hydra_command, in_process_of_its_own, show_help

if TYPE_CHECKING:
    from omegaconf import DictConfig

PURPOSE = "Train a network on Earth-observation images and say whether it overfits."


def train(composed: "DictConfig") -> None:
    """Validate the composed config, then train."""
    from terrablate.config import parse

    config = parse(composed)
    if config.trainer.devices != 1 and in_process_of_its_own(__file__):
        return
    from terrablate.training.run import run

    run(config)


if __name__ == "__main__":
    sys.exit(0 if show_help("python src/train.py", PURPOSE) else hydra_command(train))
