"""What metrics and verdicts are called on a page, and how their numbers are written."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is told.

    Args:
        label: in running text.
        unit: of a difference; '' if it has none.
        factor: that numbers are multiplied by before they are shown as a difference; 100 for points.
        digits: after the point, of a difference as it is shown.
        higher_is_better: None where neither is.
    """

    label: str
    unit: str = ""
    factor: int = 1
    digits: int = 3
    higher_is_better: bool | None = True


_METRICS = {
    "accuracy": Metric("accuracy", "points", 100, 1),
    "accuracy_macro": Metric("mean accuracy of classes", "points", 100, 1),
    "label_accuracy": Metric("label accuracy", "points", 100, 1),
    "top5": Metric("top-5 accuracy", "points", 100, 1),
    "f1_macro": Metric("macro F1"),
    "f1_micro": Metric("micro F1"),
    "kappa": Metric("Cohen's kappa"),
    "average_precision_macro": Metric("mean average precision"),
    "average_precision_micro": Metric("average precision, micro"),
    "nll": Metric("NLL", "nats", 1, 3, False),
    "ece": Metric("calibration error (ECE)", "", 1, 3, False),
    "gap_loss": Metric("gap of NLL", "nats", 1, 3, False),
    "gap_accuracy": Metric("gap of accuracy", "points", 100, 1, False),
    "excess_loss": Metric("excess of NLL at the end", "nats", 1, 3, False),
    "onset_share": Metric("share of runs with onset", "", 1, 2, False),
    "onset_restricted_mean": Metric("epochs before the onset", "epochs", 1, 1),
    "seconds": Metric("training time", "s", 1, 0, False),
    "parameters": Metric("parameters", "", 1, 0, None),
}

VERDICTS = {
    "helps": "▲",
    "hurts": "▼",
    "no relevant effect": "≈",
    "undecided": "?",
    "fits": "✓",
    "overfits": "↗",
    "plateau": "→",
    "underfits": "↘",
    "diverged": "✕",
    "failed": "✕",
}
"""A sign for each verdict of a variant and of a run, so that colour is not needed."""

MINUS = "\N{MINUS SIGN}"


def metric(name: str) -> Metric:
    """How a metric is told; one that is not known by its name.

    Args:
        name: as in `effects.csv`; a suffix such as ` (best)` is kept.
    """
    plain, bracket, suffix = name.partition(" (")
    found = _METRICS.get(plain) or Metric(plain.replace("_", " "))
    if not bracket:
        return found
    return Metric(f"{found.label} ({suffix}", found.unit, found.factor, found.digits, found.higher_is_better)


def sign_of(verdict: str) -> str:
    """See `VERDICTS`; '' for none."""
    return VERDICTS.get(verdict, "")


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Such as `−0.34`; '' for none and for what is not finite."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{abs(value):,.{digits}f}"
    is_zero = not text.strip("0.,")
    sign = "" if is_zero else MINUS if value < 0 else "+" if signed else ""
    return sign + text


def difference(name: str, value: float | None) -> str:
    """A difference with its sign, in points or in the metric's unit, without the unit."""
    told = metric(name)
    return "" if value is None else number(value * told.factor, told.digits, signed=True)


def interval(name: str, low: float | None, high: float | None, *, level: bool = False) -> str:
    """Such as `−0.4 to 10.6`; '' where an end is missing.

    Args:
        name: of the metric.
        low: end.
        high: end.
        level: of a value, not of a difference: then not in points.
    """
    if low is None or high is None:
        return ""
    told = metric(name)
    factor, digits = (1, 3) if level else (told.factor, told.digits)
    return f"{number(low * factor, digits)} to {number(high * factor, digits)}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Such as `1 run` or `3 runs`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
