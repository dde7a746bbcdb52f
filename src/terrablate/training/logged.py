"""What W&B and TensorBoard are told of a run, under which names: both make a section of what stands before a slash."""

from collections.abc import Mapping
from typing import Any

from terrablate.config.schema import Config
from terrablate.training.record import Row

type Value = float | int | str | bool | None

SECTIONS = {
    "lr": "optim/lr",
    "step": "optim/step",
    "seconds": "cost/seconds",
    "images_per_second": "cost/images_per_second",
    "parameters": "cost/parameters",
}
"""Names of columns of `metrics.csv` without a slash, and what they are called."""
_CURVES = ("nll", "accuracy")
"""What val has in common with probe: each has a section of its own."""
_COSTS = ("images_per_second", "parameters", "trainable_parameters", "peak_memory_bytes")
_OVERFITTING = ("verdict", "sentence", "onset_epoch", "excess_loss", "gap_loss", "gap_accuracy")


def shown(column: str) -> str:
    """What a column of `metrics.csv` is called.

    `nll/val`, `nll/probe`, `accuracy/val`, `accuracy/probe`, `gap/...` and `objective/train` keep their names; what
    only val has is `val/ece` and so on, so that it does not make a section of each metric.
    """
    metric, _, split = column.partition("/")
    if split == "val" and metric not in _CURVES:
        return f"val/{metric}"
    return SECTIONS.get(column, column)


def curves(row: Row) -> dict[str, float | int]:
    """The values of an epoch by the names they are shown under, `epoch` among them."""
    return {shown(name): value for name, value in row.items() if value is not None}


def summary(result: Mapping[str, Any]) -> dict[str, Value]:
    """What a finished run comes to: `<best|last|deployed>/<metric>/val` and so on, overfitting, costs, the floor.

    Args:
        result: of its record.
    """
    from terrablate.training.floor import best_accuracy

    found: dict[str, Value] = {
        f"{which}/{name}": value
        for which in ("best", "last", "deployed")
        for name, value in (result[which] or {}).items()
        if isinstance(value, int | float)
    }
    found |= {f"overfitting/{name}": result["overfitting"].get(name) for name in _OVERFITTING}
    found |= {f"cost/{name}": result["cost"].get(name) for name in _COSTS}
    found |= {"cost/total_seconds": result["cost"]["seconds"], "status": result["status"]}
    return found | {"floor/accuracy": best_accuracy(result["floor"]), "floor/is_beaten": result["beats_floor"]}


def levels(config: Config) -> dict[str, str | float]:
    """The levels of the study's factors, numbers as such; a dot in a factor's name would look like a section."""
    given = config.study.member.levels or {}
    return {factor.replace(".", "_"): _number(level) for factor, level in given.items()}


def _number(level: str) -> str | float:
    try:
        return float(level)
    except ValueError:
        return level
