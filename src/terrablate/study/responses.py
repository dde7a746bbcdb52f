"""Response curves: the primary metric by the levels of a factor that are numbers."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from terrablate.study.effects import Effect
from terrablate.study.estimates import is_factorial, known, mean_row
from terrablate.study.evidence import Evidence
from terrablate.study.measures import Measure, table
from terrablate.study.statistics.comparisons import compare

type Floats = npt.NDArray[np.float64]

FEWEST_LEVELS = 3


@dataclass(frozen=True)
class Response:
    """A curve.

    Args:
        factor: whose levels are numbers.
        levels: in order.
        rows: an effect of kind response for each level, a mean.
        shape: what the intervals support: rises, falls, peak, dip, or nothing (empty).
        turn: level of the peak or dip.
        low: of the pointwise interval of last minus first level.
        high: its upper end.
        difference: of last and first level.
    """

    factor: str
    levels: tuple[str, ...]
    rows: tuple[Effect, ...]
    shape: str
    turn: str
    difference: float | None
    low: float | None
    high: float | None


def responses(evidence: Evidence, measure: Measure, seeds: Sequence[int], template: Effect) -> list[Response]:
    """The curves of a study: of each factor with three levels or more that are all numbers."""
    values = table(evidence, measure.column, seeds)
    found = []
    for factor in evidence.baseline.levels:
        groups = _groups(evidence, factor)
        if groups is not None:
            found.append(_response(factor, groups, values, template))
    return found


def _groups(evidence: Evidence, factor: str) -> dict[str, list[int]] | None:
    """The variants of each level, in the order of the numbers; None where the factor is not ordered."""
    base = evidence.baseline.levels
    averaged = is_factorial(evidence)
    found: dict[str, list[int]] = {}
    for number, variant in enumerate(evidence.variants):
        others = {name: level for name, level in variant.levels.items() if name != factor}
        if averaged or others == {name: level for name, level in base.items() if name != factor}:
            found.setdefault(variant.levels.get(factor, ""), []).append(number)
    if len(found) < FEWEST_LEVELS or not all(map(_is_number, found)):
        return None
    return {level: found[level] for level in sorted(found, key=float)}


def _response(factor: str, groups: Mapping[str, list[int]], values: Floats, template: Effect) -> Response:
    rows = [
        mean_row(
            values[members].mean(0),
            dataclasses.replace(template, kind="response", name=f"{factor}={level}", factor=factor, level=level),
        )
        for level, members in groups.items()
    ]
    weights = np.zeros((len(groups), len(values)))
    for number, members in enumerate(groups.values()):
        weights[number, members] = 1 / len(members)
    shape, turn, ends = _shape(weights, values, list(groups))
    return Response(factor, tuple(groups), tuple(rows), shape, turn, *ends)


def _shape(
    weights: Floats, values: Floats, levels: Sequence[str]
) -> tuple[str, str, tuple[float | None, float | None, float | None]]:
    """What simultaneous intervals of all pairs of levels support."""
    pairs = list(itertools.combinations(range(len(levels)), 2))
    family = compare(values, np.array([weights[b] - weights[a] for a, b in pairs]))
    signs = {
        pair: (1 if each.low > 0 else -1 if each.high < 0 else 0)
        for pair, each in zip(pairs, family.estimates, strict=True)
    }
    last = len(levels) - 1
    whole = family.estimates[pairs.index((0, last))]
    ends = known(whole.estimate), known(whole.low_single), known(whole.high_single)
    for inner in range(1, last):
        if signs[0, inner] == 1 and signs[inner, last] == -1:
            return "peak", levels[inner], ends
        if signs[0, inner] == -1 and signs[inner, last] == 1:
            return "dip", levels[inner], ends
    if signs[0, last] and all(sign * signs[0, last] >= 0 for sign in signs.values()):
        return ("rises" if signs[0, last] > 0 else "falls"), "", ends
    return "", "", ends


def _is_number(level: str) -> bool:
    try:
        return math.isfinite(float(level))
    except ValueError:
        return False
