"""Show the layers of a network, what they cost and see: `python src/describe.py model=vgg16 input=[3,224,224]`."""

import sys
from typing import TYPE_CHECKING

from terrablate.commands import hydra_command, show_help

if TYPE_CHECKING:
    from omegaconf import DictConfig

PURPOSE = "Show the layers of a network: shapes, parameters, memory, multiply-accumulates, receptive fields."
USAGE = (
    "[group=choice ...] [key=value ...]           the network of a run, as train.py builds it",
    "model=vgg16 input=[3,224,224] classes=1000   at a size of your own; format=json or csv for programs",
    "networks=true                                all networks, as a Markdown table",
    "choices=true                                 all groups and choices, as a Markdown table",
)


def describe(composed: "DictConfig") -> None:
    """Validate the composed config, then print the table."""
    from terrablate.config import parse
    from terrablate.describe.settings import input_of, split

    settings, run = split(composed)
    config = parse(run, reads_data=False)
    if settings.choices:
        from terrablate.describe.choices_table import choices_table

        text = choices_table()
    elif settings.networks:
        from terrablate.describe.networks import networks_table

        text = networks_table(run, settings.format)
    else:
        shape, classes = input_of(config, settings)
        from terrablate.describe.command import describe_network

        text = describe_network(config, shape, classes, settings.format)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    helped = show_help("python src/describe.py", PURPOSE, primary="describe", usage=USAGE)
    sys.exit(0 if helped else hydra_command(describe, "describe", sweeps=False))
