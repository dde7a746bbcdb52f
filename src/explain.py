"""Show what a trained network looks at: `python src/explain.py run=runs/<run>`."""

import sys
from typing import TYPE_CHECKING

from terrablate.commands import hydra_command, show_help

if TYPE_CHECKING:
    from omegaconf import DictConfig

PURPOSE = "Show what a trained network looks at: filters, activation maps, channels, Grad-CAM, embedding."
USAGE = (
    "run=<folder>                                 all pictures, into <folder>/explain",
    "run=<folder> methods=[gradcam] images=12     some of them",
)


def explain(composed: "DictConfig") -> None:
    """Validate the settings and look at the record, then draw."""
    from terrablate.explain.settings import settings_of

    settings = settings_of(composed)
    from terrablate.explain.command import explain_run

    sys.stdout.write("\n".join(explain_run(settings)) + "\n")


if __name__ == "__main__":
    helped = show_help("python src/explain.py", PURPOSE, primary="explain", usage=USAGE)
    sys.exit(0 if helped else hydra_command(explain, "explain", sweeps=False))
