"""Critical values of several comparisons at once: two-sided equicoordinate quantiles of the multivariate t.

The intervals estimate +- c se of m comparisons cover all true values at once with the wanted confidence, where c is the
quantile of max |T_i| and T is multivariate t with the correlations that the comparisons really have. Dunnett (1955) is
the case of one control and equal numbers (Journal of the American Statistical Association 50, 1096-1121).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

type Floats = npt.NDArray[np.float64]

_POINTS = 14
"""Of a Sobol sequence, as a power of two: quantiles are right to about 0.002."""


def critical_value(correlation: Floats, df: float, confidence: float = 0.95) -> float:
    """The number c such that P(max |T_i| <= c) is the confidence.

    One-dimensional integration where correlations are products r_ij = l_i l_j, which they are for comparisons with one
    baseline over the same seeds (r = 1/2); else the mean over a fixed quasi-random sample of normals (Genz and Bretz
    2009, Computation of Multivariate Normal and t Probabilities), so that the same numbers give the same digits.

    Args:
        correlation: m,m, of the comparisons.
        df: degrees of freedom of their common standard error; infinity for normals.
        confidence: of all m at once.

    Returns:
        NaN without comparisons or degrees of freedom.
    """
    if not len(correlation) or not df > 0:
        return float("nan")
    rounded = np.round(np.asarray(correlation, float), 9)
    return _cached(rounded.tobytes(), len(rounded), float(df), confidence)


@lru_cache(maxsize=4096)
def _cached(content: bytes, size: int, df: float, confidence: float) -> float:
    correlation = np.frombuffer(content).reshape(size, size)
    one = float(stats.t.ppf((1 + confidence) / 2, df))
    if size == 1:
        return one
    loadings = _loadings(correlation)
    covered = _product_probability(loadings, df) if loadings is not None else _sampled_probability(correlation, df)
    upper = float(stats.t.isf((1 - confidence) / (2 * size), df)) * 1.01  # Bonferroni's is never smaller
    return float(optimize.brentq(lambda c: covered(c) - confidence, one * 0.999, upper, xtol=1e-9))


def _loadings(correlation: Floats) -> Floats | None:
    """The l of r_ij = l_i l_j, or None where correlations are no such products."""
    size = len(correlation)
    if size == 2:
        root = np.sqrt(abs(correlation[0, 1]))
        found = np.array([root, np.copysign(root, correlation[0, 1])])
    else:
        found = np.empty(size)
        for i in range(size):
            j, k = [other for other in range(size) if other != i][:2]
            with np.errstate(divide="ignore", invalid="ignore"):
                squared = correlation[i, j] * correlation[i, k] / correlation[j, k]
            if not 0 <= squared < 1:
                return None
            found[i] = np.sqrt(squared)
        found *= np.where(correlation[0] < 0, -1, 1)
    off_diagonal = ~np.eye(size, dtype=bool)
    is_product = np.allclose(np.outer(found, found)[off_diagonal], correlation[off_diagonal], atol=1e-7)
    return found if is_product and np.all(found**2 < 0.98) else None


class _product_probability:  # noqa: N801 - used as a function
    """P(max |T_i| <= c) by Gauss quadrature over the common factor and over the scale of t."""

    def __init__(self, loadings: Floats, df: float) -> None:
        nodes, weights = special.roots_hermitenorm(96)
        self._factor, self._factor_weights = nodes, weights / weights.sum()
        if np.isfinite(df):
            low, high = np.sqrt(stats.chi2.ppf([1e-12, 1 - 1e-12], df) / df)
            nodes, weights = special.roots_legendre(160)
            self._scale = (high - low) / 2 * nodes + (high + low) / 2
            density = stats.chi2.pdf(df * self._scale**2, df) * 2 * df * self._scale
            self._scale_weights = density * weights * (high - low) / 2
        else:
            self._scale, self._scale_weights = np.ones(1), np.ones(1)
        self._groups = list(zip(*np.unique(np.round(loadings, 12), return_counts=True), strict=True))

    def __call__(self, c: float) -> float:
        inside = np.ones((len(self._scale), len(self._factor)))
        for loading, count in self._groups:
            spread = np.sqrt(1 - loading**2)
            shift = loading * self._factor[None, :] / spread
            half = c * self._scale[:, None] / spread
            inside *= (special.ndtr(half + shift) - special.ndtr(shift - half)) ** count
        return float(self._scale_weights @ inside @ self._factor_weights)


class _sampled_probability:  # noqa: N801 - used as a function
    """P(max |T_i| <= c) over quasi-random normals; exact in the scale of t."""

    def __init__(self, correlation: Floats, df: float) -> None:
        values, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        used = root[:, values > 1e-10]
        sobol = stats.qmc.Sobol(used.shape[1], rng=np.random.default_rng(1955))
        points = np.clip(sobol.random_base2(_POINTS), 1e-12, 1 - 1e-12)
        normals = special.ndtri(points) @ used.T
        self._largest = np.abs(normals).max(1)
        self._df = df

    def __call__(self, c: float) -> float:
        if not np.isfinite(self._df):
            return float((self._largest <= c).mean())
        return float(special.chdtrc(self._df, self._df * (self._largest / c) ** 2).mean())
