"""Numbers and effects in words."""

import math
from collections.abc import Sequence

from terrablate.study.effects import Effect
from terrablate.study.measures import in_points

_NAMES = {
    "gap_loss": "gap (NLL)",
    "gap_accuracy": "gap (accuracy)",
    "nll": "NLL",
    "ece": "ECE",
    "accuracy_macro": "macro accuracy",
    "f1_macro": "macro F1",
    "onset_share": "share of runs with onset",
    "onset_restricted_mean": "restricted mean onset",
    "seconds": "seconds a run",
}


def metric_name(metric: str, *, split: str = "val") -> str:
    """As a sentence calls it."""
    if metric in ("gap_loss", "gap_accuracy", "seconds", "onset_share", "onset_restricted_mean"):
        return _NAMES[metric]
    return f"{split} {_NAMES.get(metric, metric.replace('_', ' '))}"


def number(value: float, metric: str) -> str:
    """A difference in the unit that it is told in, without that unit: points for accuracies."""
    if in_points(metric):
        return _rounded(100 * value, 1)
    return _rounded(value, 0 if abs(value) >= 100 else 1 if metric in ("seconds", "onset_restricted_mean") else 3)


def _rounded(value: float, digits: int) -> str:
    """Not rounded to zero while it is not."""
    while digits < 5 and value and abs(value) < 0.5 * 10**-digits:
        digits += 1
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and not float(text) else text


def unit(metric: str, value: float) -> str:
    """After a number, with a space before it; empty for what has none."""
    if in_points(metric):
        return " point" if number(abs(value), metric) == "1.0" else " points"
    return {"seconds": " s", "onset_restricted_mean": " epochs"}.get(metric, "")


def signed(value: float, metric: str) -> str:
    """A difference with its sign."""
    text = number(value, metric)
    return text if text.startswith("-") or not float(text) else f"+{text}"


def amount(value: float | None, metric: str) -> str:
    """A difference with sign and unit: `+5.1 points`."""
    return "unknown" if value is None else f"{signed(value, metric)}{unit(metric, value)}"


def span(low: float | None, high: float | None, metric: str) -> str:
    """The ends of an interval: `-0.4 to 10.6`; empty where there is none."""
    return "" if low is None or high is None else f"{number(low, metric)} to {number(high, metric)}"


def mean(value: float, metric: str) -> str:
    """A mean, as tables have it: shares as such."""
    if metric in ("seconds", "onset_restricted_mean"):
        return f"{value:.1f}"
    return f"{value:.4f}" if metric not in ("nll", "gap_loss") else f"{value:.3f}"


def interval(effect: Effect, *, kind: str = "simultaneous") -> str:
    """Such as `95 % simultaneous interval -0.4 to 10.6, 3 seeds`."""
    ends = span(effect.low, effect.high, effect.metric)
    return f"95 % {kind} interval {ends}, {seeds(effect.n)}" if ends else f"no interval, {seeds(effect.n)}"


def seeds(count: float) -> str:
    """A number of seeds."""
    return f"{count:g} seed" + ("" if count == 1 else "s")


def runs(count: int) -> str:
    """A number of runs."""
    return f"{count} run" + ("" if count == 1 else "s")


def several(names: Sequence[str], *, most: int = 12) -> str:
    """Names in a row: a, b and c."""
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"


def size(effect: Effect) -> str:
    """The size of a difference with its unit and no sign: `5.1 points`."""
    assert effect.estimate is not None
    return f"{number(abs(effect.estimate), effect.metric)}{unit(effect.metric, effect.estimate)}"


def change(effect: Effect, *, what: str) -> str:
    """`raises val accuracy by 5.1 points`; leaves it as it is where the difference is exactly zero."""
    assert effect.estimate is not None
    if effect.estimate == 0:
        return f"leaves {what} as it is on average"
    return f"{'raises' if effect.estimate > 0 else 'lowers'} {what} by {size(effect)}"


def found_with_power(effect: Effect) -> str:
    """The smallest effect that the seeds would have found; empty where it is not known."""
    if effect.detectable is None:
        return ""
    least = f"{number(effect.detectable, effect.metric)}{unit(effect.metric, effect.detectable)}"
    return f"{seeds(effect.n)} {'finds' if effect.n == 1 else 'find'} a true effect of {least} with 80 % power"


def outlook(effect: Effect, *, power_of: str, with_power: bool) -> str:
    """What more seeds would do for an undecided effect.

    Args:
        effect: undecided.
        power_of: the true effect that seeds are counted for.
        with_power: whether to say what these seeds find, too.
    """
    parts = [found_with_power(effect)] if with_power and effect.detectable is not None else []
    if effect.seeds_needed is not None:
        if math.isinf(effect.seeds_needed):
            parts.append(f"for {power_of} more than 200 seeds would be needed")
        elif effect.seeds_needed <= effect.n:
            parts.append(f"for {power_of} these seeds were enough to expect a decision, and still there is none")
        else:
            more = effect.seeds_needed - effect.n
            parts.append(f"for {power_of} {seeds(effect.seeds_needed)} would be needed, {more:g} more")
    return "; ".join(parts)
