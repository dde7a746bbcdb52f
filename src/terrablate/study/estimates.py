"""From figures to effects: means of variants, the primary family with its verdicts, exploratory comparisons."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from terrablate.study.effects import Effect, Kind, Verdict
from terrablate.study.evidence import GRID, Evidence
from terrablate.study.measures import Measure, table
from terrablate.study.statistics.comparisons import Estimate, Family, baseline_contrasts, compare, mean_interval
from terrablate.study.statistics.critical import critical_value
from terrablate.study.statistics.factors import Contrast, alias_chains, interactions, is_complete, main_effects
from terrablate.study.statistics.power import detectable, seeds_needed

type Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Group:
    """Contrasts that are estimated together.

    Args:
        kind: of effect.
        contrasts: on the variants of the evidence.
    """

    kind: Kind
    contrasts: tuple[Contrast, ...]


def is_factorial(evidence: Evidence) -> bool:
    """Whether effects are of factors, averaged over the other factors, rather than of single variants."""
    levels = [variant.levels for variant in evidence.variants]
    if evidence.design not in ("factorial", "fractional", GRID) or len(levels[0]) < 2:
        return False
    return evidence.design == "fractional" or is_complete(levels)


def families(evidence: Evidence) -> list[Group]:
    """The primary family first; then what is exploratory."""
    levels = [variant.levels for variant in evidence.variants]
    compared = Group("comparison", tuple(_comparisons(evidence)))
    if not is_factorial(evidence):
        return [compared]
    main = Group("main_effect", tuple(main_effects(levels)))
    if evidence.design == "fractional" and evidence.aliases:
        return [main, Group("alias_chain", tuple(alias_chains(levels, evidence.aliases))), compared]
    return [main, Group("interaction", tuple(interactions(levels))), compared]


def variant_rows(evidence: Evidence, measure: Measure, seeds: Sequence[int], template: Effect) -> list[Effect]:
    """Mean, standard deviation and t-interval over seeds of each variant."""
    named = zip(evidence.variants, table(evidence, measure.column, seeds), strict=True)
    return [
        mean_row(values, dataclasses.replace(template, kind="variant", name=variant.name)) for variant, values in named
    ]


def mean_row(over_seeds: npt.NDArray[np.float64], template: Effect) -> Effect:
    """A mean over seeds with its standard deviation and t-interval.

    Args:
        over_seeds: a value a seed; NaN where there is none.
        template: says of what.
    """
    mean, sd, low, high = mean_interval(over_seeds)
    n = int(np.isfinite(over_seeds).sum())
    return dataclasses.replace(
        template,
        n=n,
        estimate=known(mean),
        sd=known(sd),
        se=known(sd / math.sqrt(n)) if n else None,
        df=float(n - 1) if n > 1 else None,
        low=known(low),
        high=known(high),
        low_single=known(low),
        high_single=known(high),
        method="t" if math.isfinite(low) else "none",
    )


def contrast_rows(
    evidence: Evidence, measure: Measure, seeds: Sequence[int], group: Group, template: Effect, *, judged: bool
) -> tuple[list[Effect], Family]:
    """The effects of a group.

    Args:
        evidence: of a study.
        measure: what is compared.
        seeds: that count.
        group: contrasts, which are one family.
        template: carries what the rows share.
        judged: whether intervals are simultaneous and each effect gets a verdict and its power.
    """
    values = table(evidence, measure.column, seeds)
    if not group.contrasts:
        return [], Family((), float("nan"), np.eye(0))
    family = compare(values, np.array([each.weights for each in group.contrasts]))
    rows = []
    for contrast, found in zip(group.contrasts, family.estimates, strict=True):
        low, high = (found.low, found.high) if judged else (found.low_single, found.high_single)
        row = dataclasses.replace(
            template,
            kind=group.kind,
            name=contrast.name,
            factor=contrast.factor,
            level=contrast.level,
            baseline=contrast.baseline,
            n=found.n,
            estimate=known(found.estimate),
            sd=known(found.sd),
            se=known(found.se),
            df=known(found.df) if found.df > 0 else None,
            low=known(low),
            high=known(high),
            low_single=known(found.low_single),
            high_single=known(found.high_single),
            method=found.method if judged or found.method == "none" else found.method.split("+")[0] + "+pointwise",
        )
        rows.append(_judged(row, found, family, evidence, values) if judged else row)
    return rows, family


def verdict_of(low: float | None, high: float | None, smallest: float | None, *, higher_is_better: bool) -> Verdict:
    """What an interval says of an effect.

    Inside (-smallest, smallest) it shows that no relevant effect is there, also where it excludes zero. Without a
    smallest effect of interest that cannot be shown.
    """
    if low is None or high is None:
        return "undecided"
    if smallest is not None and -smallest < low and high < smallest:
        return "no relevant effect"
    if low > 0:
        return "helps" if higher_is_better else "hurts"
    if high < 0:
        return "hurts" if higher_is_better else "helps"
    return "undecided"


def known(value: float) -> float | None:
    """None for what is not a finite number."""
    return float(value) if math.isfinite(value) else None


def _comparisons(evidence: Evidence) -> list[Contrast]:
    base = evidence.baseline
    found = []
    for variant, weights in zip(evidence.variants[1:], baseline_contrasts(len(evidence.variants)), strict=True):
        changed = [factor for factor, level in variant.levels.items() if level != base.levels.get(factor)]
        one = changed[0] if len(changed) == 1 and changed != ["variant"] else ""
        found.append(Contrast(variant.name, one, variant.levels.get(one, ""), base.name, weights))
    return found


def _judged(row: Effect, found: Estimate, family: Family, evidence: Evidence, values: Floats) -> Effect:
    smallest = evidence.smallest_effect
    verdict = verdict_of(row.low, row.high, smallest, higher_is_better=row.higher_is_better)
    if row.estimate is None:
        return dataclasses.replace(row, verdict="undecided", smallest_effect=smallest)
    size = smallest if smallest is not None else abs(row.estimate)
    variants = int(np.isfinite(values).any(1).sum())
    by_seed = found.method.startswith("paired")
    count = len(family.estimates)

    def rule(n: int) -> tuple[float, float]:
        """With so many seeds of all variants."""
        df = n - 1 if by_seed else (n - 1) * (variants - 1)
        if by_seed:
            from scipy import stats

            return df, float(stats.t.isf(0.025 / count, df)) if df > 0 else float("nan")
        return df, critical_value(family.correlation, df)

    # a seed's standard deviation as the standard error of these seeds has it, so that gaps in the table count
    sd = found.se * math.sqrt(found.n or np.isfinite(values).any(0).sum())
    needed = seeds_needed(sd, size, rule)
    return dataclasses.replace(
        row,
        verdict=verdict,
        smallest_effect=smallest,
        detectable=known(detectable(found.se, found.df, found.critical)),
        seeds_needed=None if math.isnan(needed) else needed,
    )
