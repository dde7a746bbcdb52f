"""What is measured of a run: names, columns, direction and unit of metrics; and a table of variants by seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from terrablate.study.evidence import Evidence, RunOf

type Floats = npt.NDArray[np.float64]

_LOWER_IS_BETTER = {"nll", "ece", "gap_loss", "gap_accuracy", "seconds", "onset_share"}
_IN_POINTS = {"accuracy", "accuracy_macro", "label_accuracy", "gap_accuracy"}
_EXPLORED = (
    "accuracy", "accuracy_macro", "label_accuracy", "average_precision_macro", "f1_macro", "kappa", "nll", "ece",
    "gap_loss", "gap_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A metric of certain weights.

    Args:
        metric: such as accuracy or gap_loss.
        which: deployed, best or last; empty for what no epoch has, such as seconds.
    """

    metric: str
    which: str

    @property
    def column(self) -> str:
        """Of `runs.csv`."""
        if self.metric == "seconds":
            return "cost.seconds"
        name = self.metric.replace("gap_", "gap/") if self.metric.startswith("gap_") else f"{self.metric}/val"
        return f"{self.which}.{name}"

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""
        return higher_is_better(self.metric)


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric not in _LOWER_IS_BETTER


def in_points(metric: str) -> bool:
    """Whether differences of a metric are told in points, a hundredth of the metric's unit."""
    return metric in _IN_POINTS


def primary(evidence: Evidence) -> Measure:
    """The declared one."""
    return Measure(evidence.metric, evidence.which)


def explored(evidence: Evidence) -> list[Measure]:
    """All others that some run has a figure of."""
    wanted = [Measure(metric, evidence.which) for metric in _EXPLORED]
    wanted += [Measure(evidence.metric, which) for which in ("best", "last")]
    wanted.append(Measure("seconds", ""))
    first = primary(evidence)
    there = {name for run in complete(evidence) for name in run.values}
    return [each for each in dict.fromkeys(wanted) if each != first and each.column in there]


def complete(evidence: Evidence) -> list[RunOf]:
    """The runs whose figures count: a diverged run has no figure that is worth a mean."""
    return [run for run in evidence.runs if run.status == "complete"]


def table(evidence: Evidence, column: str, seeds: Sequence[int]) -> Floats:
    """V,S: a column of the complete runs; NaN where there is none."""
    rows = {variant.name: number for number, variant in enumerate(evidence.variants)}
    places = {seed: number for number, seed in enumerate(seeds)}
    values = np.full((len(rows), len(places)), np.nan)
    for run in complete(evidence):
        if run.seed in places and column in run.values:
            values[rows[run.variant], places[run.seed]] = run.values[column]
    return values


def all_seeds(evidence: Evidence) -> tuple[int, ...]:
    """Planned ones first, then those that were added."""
    return tuple(dict.fromkeys([*evidence.planned_seeds, *(run.seed for run in evidence.runs)]))


def added_seeds(evidence: Evidence) -> tuple[int, ...]:
    """Seeds that came after the first plan."""
    return tuple(seed for seed in all_seeds(evidence) if seed not in evidence.planned_seeds)
