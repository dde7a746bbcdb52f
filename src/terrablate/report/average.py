"""Curves over the seeds of a variant, from the data of a page."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class MeanCurve:
    """Over the runs that ended well, at the epochs that all of them have."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    runs: int


@dataclass(frozen=True)
class End:
    """Where the val NLL of a run was lowest."""

    epoch: int
    value: float
    is_onset: bool


def mean_curve(data: Mapping[str, Any], place: int, name: str) -> MeanCurve | None:
    """Mean, lowest and highest value of the seeds.

    Args:
        data: as `payload` gives them.
        place: of the variant.
        name: column of `metrics.csv`.
    """
    found = [curve for run in _runs(data, place) if (curve := curve_of(data, run, name))]
    if not found:
        return None
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for curve in found:
        for epoch, value in curve.items():
            by_epoch[epoch].append(value)
    epochs = sorted(epoch for epoch, values in by_epoch.items() if len(values) == len(found))
    values = [by_epoch[epoch] for epoch in epochs]
    return MeanCurve(epochs, [fmean(v) for v in values], [min(v) for v in values], [max(v) for v in values], len(found))


def curve_of(data: Mapping[str, Any], run: Mapping[str, Any], name: str) -> dict[int, float]:
    """Value by epoch, of a run."""
    curve = run["curve"]
    if curve is None or name not in data["curveNames"]:
        return {}
    values = curve["m"].get(data["curveNames"].index(name), ())
    return {epoch: value for epoch, value in zip(data["epochs"][curve["e"]], values, strict=True) if value is not None}


def ends(data: Mapping[str, Any], place: int) -> list[End]:
    """Of the runs that ended well."""
    keys = [column["key"] for column in data["columns"]]
    found = []
    for run in _runs(data, place):
        figures = dict(zip(keys, run["x"], strict=True))
        best = figures.get("best_epoch")
        value = None if best is None else curve_of(data, run, "nll/val").get(int(best))
        if best is not None and value is not None:
            found.append(End(int(best), value, figures.get("onset_epoch") is not None))
    return found


def _runs(data: Mapping[str, Any], place: int) -> list[Mapping[str, Any]]:
    return [run for run in data["runs"] if run["v"] == place and run["status"] == "complete"]
