"""Open the locked test split of finished runs: `python src/evaluate.py study=tricks`, `run=runs/...`."""

import sys
from typing import TYPE_CHECKING

from terrablate.commands import hydra_command, show_help

if TYPE_CHECKING:
    from omegaconf import DictConfig

PURPOSE = "Evaluate finished runs on the test split, which training never reads; each opening is written down."
USAGE = (
    "study=<name>                           all runs of a study, with the deployed weights",
    "run=<folder>                           one run",
    "... split=val tta=true mc_dropout=20   what options would give, on val: opens nothing",
    "... data=ucmerced data.root=<folder>   on another dataset with the same classes: a transfer test",
    "... data.root=<folder>                 the run's own data, which have moved",
)


def evaluate(composed: "DictConfig") -> None:
    """Validate the composed config, find the runs, then evaluate."""
    from terrablate.evaluation.settings import settings_of
    from terrablate.evaluation.subjects import subjects_of

    settings = settings_of(composed)
    subjects = subjects_of(settings)
    from terrablate.evaluation.evaluate import evaluate_all

    evaluate_all(settings, subjects)


if __name__ == "__main__":
    from terrablate.evaluation.words import rewritten

    if show_help("python src/evaluate.py", PURPOSE, primary="evaluate", usage=USAGE):
        sys.exit(0)
    sys.argv[1:] = rewritten(sys.argv[1:])
    sys.exit(hydra_command(evaluate, "evaluate", sweeps=False))
