"""Paired bootstrap over val images: how a difference would move with another draw of the val set, runs held fixed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]

DRAWS = 2000
METRICS = ("accuracy", "accuracy_macro", "f1_macro", "kappa", "nll", "ece")
"""Those of one label an image that can be computed again from logits."""
_BINS = 15


def image_draws(groups: Integers, seed: int = 0, draws: int = DRAWS) -> Floats:
    """How often each image is in each draw: draws,N; whole groups are drawn, with replacement.

    Args:
        groups: N, number of the group that an image belongs to; each its own where none are known.
        seed: of the draws.
        draws: how many.
    """
    names, place = np.unique(groups, return_inverse=True)
    count = len(names)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return drawn[:, place].astype(float)


def is_known_metric(metric: str, labels: Integers) -> bool:
    """Whether a metric can be computed again from logits; of several labels an image, N,K, accuracy and NLL can."""
    return metric in (METRICS if labels.ndim == 1 else ("accuracy", "nll"))


def resampled(logits: Floats, labels: Integers, metric: str, weights: Floats) -> Floats:
    """A metric in each draw.

    Args:
        logits: N,K.
        labels: N; or N,K zeros and ones.
        metric: one that `is_known_metric`, as `terrablate.training.metrics` defines it.
        weights: draws,N; a row of ones gives the metric itself.

    Returns:
        One value a draw.

    Raises:
        ValueError: for another metric.
    """
    features = _features(logits, labels, metric)
    return _of_sums(weights @ features, weights.sum(1), metric, logits.shape[1])


def difference_interval(
    variant: Sequence[Floats], baseline: Sequence[Floats], confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a difference of means over the same seeds.

    Args:
        variant: of each run a metric in each draw.
        baseline: of the runs of the same seeds, in the same draws.
        confidence: of the interval.
    """
    differences = np.mean(variant, axis=0) - np.mean(baseline, axis=0)
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(differences, [tail, 100 - tail])
    return float(low), float(high)


def _features(logits: Floats, labels: Integers, metric: str) -> Floats:
    """N,F: what is summed over images."""
    if labels.ndim == 2:
        return _features_of_several(logits, labels, metric)
    count = logits.shape[1]
    guess = logits.argmax(1)
    match metric:
        case "accuracy":
            return (guess == labels).astype(float)[:, None]
        case "accuracy_macro" | "f1_macro" | "kappa":
            return np.eye(count * count)[labels * count + guess]
        case "nll":
            return -_log_softmax(logits)[np.arange(len(labels)), labels][:, None]
        case "ece":
            confidence = np.exp(_log_softmax(logits).max(1))
            place = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
            return np.eye(_BINS)[place] * (confidence - (guess == labels))[:, None]
    raise ValueError(f"metric {metric}: expected one of {', '.join(METRICS)}")


def _features_of_several(logits: Floats, labels: Integers, metric: str) -> Floats:
    match metric:
        case "accuracy":
            return ((logits > 0) == (labels > 0)).all(1).astype(float)[:, None]
        case "nll":
            return (np.logaddexp(0, logits) - logits * labels).mean(1)[:, None]
    raise ValueError(f"metric {metric}: of several labels an image, expected accuracy or nll")


def _of_sums(sums: Floats, totals: Floats, metric: str, count: int) -> Floats:
    if metric in ("accuracy", "nll"):
        return sums[:, 0] / totals
    if metric == "ece":
        return np.abs(sums).sum(1) / totals
    confusion = sums.reshape(-1, count, count)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, guessed = confusion.sum(2), confusion.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        match metric:
            case "accuracy_macro":
                return np.nanmean(right / true, axis=1)
            case "f1_macro":
                return np.nanmean(2 * right / (true + guessed), axis=1)
        observed = right.sum(1) / totals
        expected = (true * guessed).sum(1) / totals**2
        return (observed - expected) / (1 - expected)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
