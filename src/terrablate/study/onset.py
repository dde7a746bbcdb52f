"""When runs begin to overfit, where some never do while they are watched."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from terrablate.study.effects import Effect
from terrablate.study.estimates import known
from terrablate.study.evidence import Evidence
from terrablate.study.measures import complete
from terrablate.study.statistics.comparisons import baseline_contrasts, compare
from terrablate.study.statistics.survival import horizon, restricted_mean, share_interval

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Onsets:
    """Rows, and up to when the runs were watched.

    Args:
        effects: of kind onset; those with a baseline are differences.
        until: epoch that restricted means go up to.
        budget: epochs that were planned.
    """

    effects: tuple[Effect, ...]
    until: float
    budget: float


def onsets(evidence: Evidence, seeds: Sequence[int]) -> Onsets:
    """Share of runs with onset, and the mean of min(onset, horizon), in epochs, of each variant.

    A run without onset is censored at its last epoch: it may have one later. Runs that did not complete do not count.
    """
    runs = [run for run in complete(evidence) if run.seed in seeds and "epochs" in run.values]
    budget = max((run.values.get("budget_epochs", run.values["epochs"]) for run in runs), default=0.0)
    watched: dict[str, tuple[Floats, npt.NDArray[np.bool_], list[int]]] = {}
    for variant in evidence.variants:
        mine = [run for run in runs if run.variant == variant.name]
        events = np.array(["overfitting.onset_epoch" in run.values for run in mine], bool)
        times = np.array([run.values.get("overfitting.onset_epoch", run.values["epochs"]) for run in mine], float)
        if mine:
            watched[variant.name] = times, events, [run.seed for run in mine]
    if not watched:
        return Onsets((), 0.0, 0.0)
    # an onset ends the watching, but not for want of epochs
    ends = [
        np.array([max(t, budget) if event else t for t, event in zip(*w[:2], strict=True)]) for w in watched.values()
    ]
    until = horizon(ends, budget)
    rows: list[Effect] = []
    template = Effect(kind="onset", name="", which="", seeds="planned")
    for name, (times, events, _) in watched.items():
        count, total = int(events.sum()), len(events)
        low, high = share_interval(count, total)
        rows.append(
            dataclasses.replace(
                template,
                name=name,
                metric="onset_share",
                higher_is_better=False,
                n=total,
                estimate=count / total,
                low=low,
                high=high,
                low_single=low,
                high_single=high,
                method="clopper-pearson",
            )
        )
        found = restricted_mean(times, events, until)
        rows.append(
            dataclasses.replace(
                template,
                name=name,
                metric="onset_restricted_mean",
                n=total,
                estimate=found.mean,
                se=known(found.se),
                low=known(found.low),
                high=known(found.high),
                low_single=known(found.low),
                high_single=known(found.high),
                method=found.method,
            )
        )
    return Onsets((*rows, *_differences(evidence, seeds, watched, until, template)), until, budget)


def _differences(
    evidence: Evidence,
    seeds: Sequence[int],
    watched: dict[str, tuple[Floats, npt.NDArray[np.bool_], list[int]]],
    until: float,
    template: Effect,
) -> list[Effect]:
    """Of min(onset, horizon) to the baseline, where it is known of every run: none was lost from sight before."""
    if any(((times < until) & ~events).any() for times, events, _ in watched.values()):
        return []
    values = np.full((len(evidence.variants), len(seeds)), np.nan)
    for number, variant in enumerate(evidence.variants):
        if variant.name in watched:
            times, _, mine = watched[variant.name]
            for time, seed in zip(times, mine, strict=True):
                values[number, list(seeds).index(seed)] = min(time, until)
    if len(evidence.variants) < 2:
        return []
    family = compare(values, baseline_contrasts(len(evidence.variants)))
    return [
        dataclasses.replace(
            template,
            name=variant.name,
            baseline=evidence.baseline.name,
            metric="onset_restricted_mean",
            n=found.n,
            estimate=known(found.estimate),
            sd=known(found.sd),
            se=known(found.se),
            df=known(found.df),
            low=known(found.low_single),
            high=known(found.high_single),
            low_single=known(found.low_single),
            high_single=known(found.high_single),
            method=found.method if found.method == "none" else found.method.split("+")[0] + "+pointwise",
        )
        for variant, found in zip(evidence.variants[1:], family.estimates, strict=True)
    ]
