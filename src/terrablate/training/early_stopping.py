"""Early stopping: the rule that ends a run, and what it would have given with other patience than the run's own."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from terrablate.training.overfitting import Evaluation, best_evaluation

PATIENCES = (1, 2, 3, 5, 10, 20)
"""Evaluations without improvement that the report tries."""


def stop_epoch(
    evaluations: Sequence[Evaluation], metric: Literal["nll", "accuracy"], patience: int, min_delta: float
) -> int | None:
    """The epoch after which early stopping by a metric of val ends a run; None where it does not."""
    values = [each.nll_val if metric == "nll" else each.accuracy_val for each in evaluations]
    index = would_stop_at(values, patience, min_delta, "min" if metric == "nll" else "max")
    return None if index is None else evaluations[index].epoch


def early_stopping_report(
    evaluations: Sequence[Evaluation], budget_epochs: int, patiences: Sequence[int] = PATIENCES
) -> list[dict[str, Any]]:
    """What `stop=early` by val NLL with no min delta would have given on these curves, an entry a patience.

    A stop changes nothing before it, so the entry of a patience is what the run with this rule gives, exactly.

    Args:
        evaluations: of the run, in their order.
        budget_epochs: that it was to train.
        patiences: evaluations without improvement.

    Returns:
        For each the `patience`, `stop_epoch` (None where it does not stop), `best_epoch` (of the lowest val NLL until
        then, whose weights it would deploy) with its `accuracy/val` and `nll/val`, and `saved`, the share of the
        budget: 0 where the whole budget is trained, None where the curves end before the budget and the rule.
    """
    report = []
    for patience in patiences:
        stop = stop_epoch(evaluations, "nll", patience, 0.0)
        seen = [each for each in evaluations if stop is None or each.epoch <= stop]
        index = best_evaluation(seen)
        best = None if index is None else seen[index]
        end = stop if stop is not None else budget_epochs
        report.append(
            {
                "patience": patience,
                "stop_epoch": stop,
                "best_epoch": best.epoch if best else None,
                "accuracy/val": best.accuracy_val if best else None,
                "nll/val": best.nll_val if best else None,
                "saved": 1 - end / budget_epochs if seen and seen[-1].epoch >= end else None,
            }
        )
    return report


def would_stop_at(values: Sequence[float], patience: int, min_delta: float, mode: Literal["min", "max"]) -> int | None:
    """Index of the evaluation after which early stopping ends a run; None where it does not.

    It stops once `patience` evaluations in a row have not improved on the best by more than `min_delta`. The best moves
    only with such an improvement, so many small steps add up. NaN and infinity count as no improvement.
    """
    if patience < 1 or not 0 <= min_delta < math.inf or mode not in ("min", "max"):
        raise ValueError(
            f"would_stop_at got patience={patience}, min_delta={min_delta}, mode={mode!r}; "
            "expected patience >= 1, min_delta >= 0 and mode 'min' or 'max'."
        )
    best: float | None = None
    waited = 0
    for index, value in enumerate(values):
        cost = value if mode == "min" else -value
        if math.isfinite(cost) and (best is None or best - cost > min_delta):
            best, waited = cost, 0
            continue
        waited += 1
        if waited >= patience:
            return index
    return None
