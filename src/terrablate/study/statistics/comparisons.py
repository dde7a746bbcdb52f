"""Contrasts of variants over seeds, with simultaneous intervals: the block model, or differences seed by seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from terrablate.study.statistics.critical import critical_value
from terrablate.study.statistics.variances import CLEARLY_UNEQUAL, unequal_variances

type Floats = npt.NDArray[np.float64]

_TIE = 1e-9
"""Spreads below that share of the values are rounding."""


_ZERO = 1e-13
"""Differences below that are rounding: figures have seven decimals."""


@dataclass(frozen=True)
class BlockFit:
    """Least squares of y = variant + seed + error on the cells that are there.

    Args:
        means: V, of the variants at the mean of the seeds; NaN for a variant without a value.
        unscaled: V,V covariance of the means but for the error variance; of contrasts alone it has a meaning.
        variance: of the error; NaN without degrees of freedom.
        df: of the error.
        residuals: V,S; NaN where no value is.
        rank_space: V+S,V+S projection on what can be estimated.
    """

    means: Floats
    unscaled: Floats
    variance: float
    df: int
    residuals: Floats
    rank_space: Floats

    def estimable(self, contrast: Floats) -> bool:
        """Whether the seeds that are there tie the contrast's variants together."""
        padded = np.concatenate([contrast, np.zeros(len(self.rank_space) - len(contrast))])
        return bool(np.allclose(padded @ self.rank_space, padded, atol=1e-7))


@dataclass(frozen=True)
class Estimate:
    """A contrast of variants.

    Args:
        estimate: NaN where it cannot be estimated.
        sd: of one seed's contrast.
        se: of the estimate.
        df: degrees of freedom of `se`.
        n: seeds in which all variants of the contrast have a value.
        critical: factor of `se` in the simultaneous interval.
        low: lower end of the simultaneous interval.
        high: its upper end.
        low_single: lower end of the pointwise interval.
        high_single: its upper end.
        method: block+dunnett, paired+bonferroni; `none` where there is no interval.
        tied: whether there is no spread at all, which proves nothing about the next seed.
    """

    estimate: float
    sd: float
    se: float
    df: float
    n: int
    critical: float
    low: float
    high: float
    low_single: float
    high_single: float
    method: str
    tied: bool = False


@dataclass(frozen=True)
class Family:
    """Estimates whose intervals hold together.

    Args:
        estimates: one a contrast.
        unequal_p: p-value of the test for equal error variances; NaN where it cannot be made.
        correlation: m,m of those that can be estimated; of the block model.
    """

    estimates: tuple[Estimate, ...]
    unequal_p: float
    correlation: Floats


def fit_blocks(values: Floats) -> BlockFit:
    """Fit the block model.

    A seed with a single value says nothing about differences, and costs no degree of freedom. A variant that shares no
    seed with the baseline is compared through the variants that share seeds with both, where there are such.

    Args:
        values: V,S, variants by seeds; NaN where there is none.
    """
    there = np.isfinite(values)
    variants, seeds = np.nonzero(there)
    count, blocks = values.shape
    design = np.zeros((len(variants), count + blocks))
    rows = np.arange(len(variants))
    design[rows, variants] = 1
    design[rows, count + seeds] = 1
    inverse = np.linalg.pinv(design.T @ design, rcond=1e-10, hermitian=True)
    space = inverse @ (design.T @ design)
    solution = inverse @ (design.T @ values[there])
    fitted = design @ solution
    rest = values[there] - fitted
    df = len(variants) - round(float(np.trace(space)))
    residuals = np.full(values.shape, np.nan)
    residuals[there] = rest
    used = there.any(0)
    means = np.where(there.any(1), solution[:count] + (solution[count:][used].mean() if used.any() else 0.0), np.nan)
    variance = float(rest @ rest) / df if df > 0 else float("nan")
    if df > 0 and np.sqrt(variance) <= _TIE * max(1e-12, float(np.abs(values[there]).max())):
        variance = 0.0
    return BlockFit(means, inverse[:count, :count], variance, df, residuals, space)


def compare(values: Floats, contrasts: Floats, confidence: float = 0.95) -> Family:
    """Estimate contrasts of variants, with intervals that hold for all of them at once.

    One common error variance and the multivariate t of the block model, unless the error variances clearly differ
    (`unequal_variances` below `CLEARLY_UNEQUAL`): then each contrast is taken seed by seed, with t-intervals that are
    adjusted by Bonferroni.

    Args:
        values: V,S, variants by seeds; NaN where there is none.
        contrasts: m,V, rows that sum to zero.
        confidence: of the family.
    """
    fit = fit_blocks(values)
    p = unequal_variances(fit.residuals) if fit.variance > 0 else float("nan")
    if p < CLEARLY_UNEQUAL:
        estimates = _by_seed(values, contrasts, confidence)
        return Family(estimates, p, np.eye(len(contrasts)))
    estimates, correlation = _by_model(fit, values, contrasts, confidence)
    return Family(estimates, p, correlation)


def baseline_contrasts(count: int) -> Floats:
    """count-1,count: each variant minus the first."""
    return np.hstack([-np.ones((count - 1, 1)), np.eye(count - 1)])


def mean_interval(values: Floats, confidence: float = 0.95) -> tuple[float, float, float, float]:
    """Mean, standard deviation and t-interval of the finite ones of some values; NaN where there are too few."""
    found = values[np.isfinite(values)]
    if not len(found):
        return (float("nan"),) * 4
    mean = float(found.mean())
    if len(found) < 2:
        return mean, float("nan"), float("nan"), float("nan")
    sd = float(found.std(ddof=1))
    if sd <= _TIE * abs(mean):
        return mean, 0.0, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + confidence) / 2, len(found) - 1)) * sd / np.sqrt(len(found))
    return mean, sd, mean - half, mean + half


def _by_model(
    fit: BlockFit, values: Floats, contrasts: Floats, confidence: float
) -> tuple[tuple[Estimate, ...], Floats]:
    known = np.array([fit.estimable(row) for row in contrasts], bool)
    scale = contrasts @ fit.unscaled @ contrasts.T
    spread = np.sqrt(np.clip(np.diag(scale), 0, None))
    correlation = (scale / np.outer(spread, spread))[np.ix_(known, known)] if known.any() else np.eye(0)
    has_spread = fit.variance > 0
    critical = critical_value(correlation, fit.df, confidence) if has_spread else float("nan")
    single = float(stats.t.ppf((1 + confidence) / 2, fit.df)) if fit.df > 0 else float("nan")
    means = np.nan_to_num(fit.means)
    found = []
    for row, is_known, unit in zip(contrasts, known, spread, strict=True):
        n = _seeds_of(values, row)
        if not is_known:
            found.append(_unknown(n))
            continue
        estimate = float(row @ means)
        se = float(np.sqrt(fit.variance)) * float(unit)
        sd = float(np.sqrt(fit.variance) * np.sqrt(row @ row))
        found.append(_estimate(estimate, sd, se, fit.df, n, critical, single, "block+dunnett", tied=fit.variance == 0))
    return tuple(found), correlation


def _by_seed(values: Floats, contrasts: Floats, confidence: float) -> tuple[Estimate, ...]:
    found = []
    for row in contrasts:
        used = row != 0
        whole = np.isfinite(values[used]).all(0)
        differences = row[used] @ values[np.ix_(used, whole)]
        n = len(differences)
        if n == 0:
            found.append(_unknown(0))
            continue
        df = n - 1
        estimate = float(differences.mean())
        sd = float(differences.std(ddof=1)) if df else float("nan")
        tied = df > 0 and sd <= _TIE * max(1e-12, float(np.abs(values[np.isfinite(values)]).max()))
        tail = (1 - confidence) / 2
        critical = float(stats.t.isf(tail / len(contrasts), df)) if df else float("nan")
        single = float(stats.t.isf(tail, df)) if df else float("nan")
        found.append(_estimate(estimate, sd, sd / np.sqrt(n), df, n, critical, single, "paired+bonferroni", tied=tied))
    return tuple(found)


def _estimate(
    estimate: float, sd: float, se: float, df: float, n: int, critical: float, single: float, method: str, *, tied: bool
) -> Estimate:
    if abs(estimate) <= _ZERO:
        estimate = 0.0
    if tied or not se > 0:
        nan = float("nan")
        return Estimate(estimate, sd, nan, df, n, nan, nan, nan, nan, nan, "none", tied)
    wide, narrow = critical * se, single * se
    ends = (estimate - wide, estimate + wide, estimate - narrow, estimate + narrow)
    return Estimate(estimate, sd, float(se), df, n, critical, *ends, method)


def _unknown(n: int) -> Estimate:
    nan = float("nan")
    return Estimate(nan, nan, nan, nan, n, nan, nan, nan, nan, nan, "none")


def _seeds_of(values: Floats, contrast: Floats) -> int:
    return int(np.isfinite(values[contrast != 0]).all(0).sum())
