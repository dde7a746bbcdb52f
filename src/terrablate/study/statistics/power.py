"""What a number of seeds can find: the smallest effect found with 80 % power, and the seeds that an effect needs."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

POWER = 0.8
MOST_SEEDS = 200
"""More are not counted."""


def detectable(se: float, df: float, critical: float, power: float = POWER) -> float:
    """The true difference whose interval excludes zero with the given probability.

    Args:
        se: standard error of the difference.
        df: its degrees of freedom.
        critical: factor of the standard error in the interval.
        power: the probability.

    Returns:
        In the unit of `se`; NaN where there is no interval.
    """
    if not (se > 0 and df > 0 and np.isfinite(critical)):
        return float("nan")

    def missing(shift: float) -> float:
        return _power(shift, df, critical) - power

    return se * float(optimize.brentq(missing, 0, 3 * critical + 20))


def seeds_needed(sd: float, effect: float, rule: Callable[[int], tuple[float, float]], power: float = POWER) -> float:
    """The fewest seeds with which an effect is found with the given probability.

    Args:
        sd: standard deviation of one seed's difference.
        effect: true difference.
        rule: from a number of seeds to degrees of freedom and critical factor.
        power: the probability.

    Returns:
        A whole number from 2; infinity where more than `MOST_SEEDS` are needed; NaN where it cannot be said.
    """
    if not (sd > 0 and np.isfinite(effect)):
        return float("nan")
    if effect == 0:
        return float("inf")

    def suffices(n: int) -> bool:
        df, critical = rule(n)
        return df > 0 and _power(abs(effect) / sd * np.sqrt(n), df, critical) >= power

    if not suffices(MOST_SEEDS):
        return float("inf")
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return float(high)


def _power(shift: float, df: float, critical: float) -> float:
    """P(|T| > critical) of the non-central t, as the mean over the scale of t (scipy's is NaN for large shifts)."""
    limits = critical * _scales(df)
    return float(np.mean(special.ndtr(shift - limits) + special.ndtr(-shift - limits)))


@lru_cache(maxsize=512)
def _scales(df: float) -> npt.NDArray[np.float64]:
    """The square root of chi-squared by its degrees of freedom, at 4,000 equally likely points."""
    return np.sqrt(special.chdtri(df, (np.arange(4000) + 0.5) / 4000) / df)
