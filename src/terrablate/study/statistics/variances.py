"""Whether the errors of all variants of a block model vary alike."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Truths = npt.NDArray[np.bool_]

CLEARLY_UNEQUAL = 0.1
"""Level of the test: each of its two parts is made at half of it."""
_SIMULATED = 4000


def unequal_variances(residuals: Floats) -> float:
    """P-value of the hypothesis that the errors of all variants vary alike.

    Two statistics of the residuals of the block model: the largest share that one variant has in the mean squares
    (Cochran 1941, Annals of Eugenics 11, 47-52), and the share of the baseline, whose variance is part of every
    comparison. Both are compared to what simulated normal errors give on the same cells, and the smaller p-value counts
    twice. Tests such as Brown and Forsythe's take the residuals of a seed for independent, which they are not. What the
    choice that hangs on this test does to the intervals is simulated in experiments/results/coverage.

    Args:
        residuals: V,S, of the block model, the baseline first; NaN where no value is.

    Returns:
        NaN for two variants, whose residuals mirror each other, and where nothing varies.
    """
    there = np.isfinite(residuals)
    if (there.sum(1) > 1).sum() < 3 or not (there.sum(0) > 1).sum() > 1:
        return float("nan")
    found = _shares(residuals[None], there)[:, 0]
    if not np.isfinite(found).all():
        return float("nan")
    reference = _reference(there.tobytes(), there.shape)
    above = (reference >= found[:, None] - 1e-12).sum(1)
    return float(min(1.0, 2 * (1 + above.min()) / (1 + _SIMULATED)))


def _shares(residuals: Floats, there: Truths) -> Floats:
    """Largest share, and the baseline's, in the mean squares about each variant's own mean: of R,V,S the 2,R."""
    counts = there.sum(1)
    filled = np.where(there, residuals, 0.0)
    squares = (filled**2).sum(-1) - filled.sum(-1) ** 2 / np.maximum(counts, 1)
    mean_squares = np.clip(squares, 0, None) / np.maximum(counts - 1, 1)
    total = mean_squares.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([mean_squares.max(-1) / total, mean_squares[..., 0] / total])


@lru_cache(maxsize=256)
def _reference(content: bytes, shape: tuple[int, int]) -> Floats:
    """2,_SIMULATED: the shares of normal errors of one variance, in random order."""
    there = np.frombuffer(content, bool).reshape(shape)
    variants, seeds = np.nonzero(there)
    design = np.zeros((len(variants), sum(shape)))
    design[np.arange(len(variants)), variants] = 1
    design[np.arange(len(variants)), shape[0] + seeds] = 1
    maker = np.eye(len(variants)) - design @ np.linalg.pinv(design, rcond=1e-10)
    errors = np.random.default_rng(1941).standard_normal((_SIMULATED, len(variants))) @ maker
    residuals = np.zeros((_SIMULATED, *shape))
    residuals[:, variants, seeds] = errors
    return _shares(residuals, there)
