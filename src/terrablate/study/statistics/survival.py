"""Onset as a censored outcome: how many runs have one, and the mean of min(onset, horizon)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Restricted:
    """The restricted mean survival time, with its 95 % interval.

    Args:
        mean: area under the Kaplan-Meier curve up to the horizon.
        se: NaN where runs show no spread.
        low: lower end; NaN without `se`.
        high: upper end.
        method: t where no run was censored before the horizon, so that it is a plain mean; else kaplan-meier.
    """

    mean: float
    se: float
    low: float
    high: float
    method: str


def share_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson 1934, Biometrika 26, 404-413)."""
    found = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def horizon(follow_ups: list[Floats], budget: float) -> float:
    """The last time that every group was watched to, at most the budget: beyond it a curve would be made up.

    Args:
        follow_ups: of each group the times at which its runs had their onset or were last seen.
        budget: epochs that were planned.
    """
    return float(min([budget, *(times.max() for times in follow_ups if len(times))]))


def restricted_mean(times: Floats, events: npt.NDArray[np.bool_], until: float, confidence: float = 0.95) -> Restricted:
    """Mean of min(onset, horizon) when some runs were watched for a shorter time.

    The area under the curve of Kaplan and Meier (1958), with the variance sum over onsets of (area after it)^2 d / (n
    (n - d)) (Klein and Moeschberger 2003, Survival Analysis, section 4.5). Without censoring before the horizon it is
    the plain mean, and gets a t-interval.

    Args:
        times: N, of the onset or of the end of watching.
        events: N, whether there was an onset.
        until: the horizon.
        confidence: of the interval.
    """
    nan = float("nan")
    if not ((times < until) & ~events).any():
        values = np.minimum(times, until)
        mean = float(values.mean())
        sd = float(values.std(ddof=1)) if len(values) > 1 else nan
        if not sd > 0:
            return Restricted(mean, nan, nan, nan, "t")
        se = sd / np.sqrt(len(values))
        half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * se
        return Restricted(mean, float(se), mean - half, min(mean + half, until), "t")
    from statsmodels.duration.survfunc import SurvfuncRight

    curve = SurvfuncRight(times, events.astype(int))
    inside = np.asarray(curve.surv_times) < until
    at = np.asarray(curve.surv_times)[inside]
    survival = np.concatenate([[1.0], np.asarray(curve.surv_prob)[inside]])
    edges = np.concatenate([[0.0], at, [until]])
    areas = survival * np.diff(edges)
    after = areas[::-1].cumsum()[::-1][1:]
    at_risk, onsets = np.asarray(curve.n_risk)[inside], np.asarray(curve.n_events)[inside]
    counted = (onsets > 0) & (at_risk > onsets)
    variance = float(
        (after[counted] ** 2 * onsets[counted] / (at_risk[counted] * (at_risk[counted] - onsets[counted]))).sum()
    )
    mean = float(areas.sum())
    if not variance > 0:
        return Restricted(mean, nan, nan, nan, "kaplan-meier")
    half = float(stats.norm.ppf((1 + confidence) / 2)) * variance**0.5
    return Restricted(mean, variance**0.5, max(0.0, mean - half), min(mean + half, until), "kaplan-meier")
