"""The test split, where it was opened: the same comparisons beside those of val."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from terrablate.study.effects import Effect
from terrablate.study.estimates import Group, known
from terrablate.study.evidence import Evidence
from terrablate.study.measures import table
from terrablate.study.statistics.comparisons import compare, mean_interval


def with_test(
    rows: Sequence[Effect], groups: Sequence[Group], evidence: Evidence, seeds: Sequence[int]
) -> list[Effect]:
    """Rows of the primary metric with what the test split gives, whose intervals are simultaneous, too."""
    values = table(evidence, f"test.{evidence.metric}", seeds)
    if not np.isfinite(values).any():
        return list(rows)
    found = {}
    for variant, row in zip(evidence.variants, values, strict=True):
        mean, _, low, high = mean_interval(row)
        found["variant", variant.name] = mean, low, high
    for group in groups:
        if group.contrasts:
            family = compare(values, np.array([each.weights for each in group.contrasts]))
            for contrast, each in zip(group.contrasts, family.estimates, strict=True):
                found[group.kind, contrast.name] = each.estimate, each.low, each.high
    result = []
    for row in rows:
        estimate, low, high = found.get((row.kind, row.name), (float("nan"),) * 3)
        result.append(
            dataclasses.replace(row, test_estimate=known(estimate), test_low=known(low), test_high=known(high))
        )
    return result


def openings(folder: Path | None, problems: list[str]) -> int:
    """How often the test split was opened for a study, as `test_openings.csv` counts it."""
    if folder is None:
        return 0
    try:
        with (folder / "test_openings.csv").open(encoding="utf-8", newline="") as file:
            counts = [int(row.get("count") or number) for number, row in enumerate(csv.DictReader(file), 1)]
        return max(counts, default=0)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, csv.Error):
        problems.append("test_openings.csv: is damaged; how often the test split was opened is not known")
        return 0
