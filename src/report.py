"""Make the page of a study, of some runs or of one run: `python src/report.py study=NAME`."""

import sys
from typing import TYPE_CHECKING

from terrablate.commands import hydra_command, show_help

if TYPE_CHECKING:
    from omegaconf import DictConfig

PURPOSE = "Show what a study found: effects, curves, mistakes, all runs, as one HTML file that needs no network."
USAGE = (
    "study=NAME              a study: report.html, report.md and figures in its folder",
    "study=NAME watch=true   follow a study that runs; the open page reads itself anew",
    "runs=FOLDER             runs without a study, or a pattern: 'runs=runs/eurosat-*'",
    "run=FOLDER              the page of one run",
)


def report(composed: "DictConfig") -> None:
    """Validate the composed config, then write the page."""
    from terrablate.report.settings import settings_of

    settings = settings_of(composed)
    from terrablate.report.command import make_report

    make_report(settings)


if __name__ == "__main__":
    if show_help("python src/report.py", PURPOSE, primary="report", usage=USAGE):
        sys.exit(0)
    from terrablate.report.settings import with_study_named

    sys.argv[1:] = with_study_named(sys.argv[1:])
    sys.exit(hydra_command(report, "report", sweeps=False))
