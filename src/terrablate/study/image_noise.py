"""The noise of the val set: predictions of the runs are read back, and val images are drawn anew."""

import dataclasses
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from terrablate.errors import UserError
from terrablate.study.effects import Effect
from terrablate.study.evidence import Evidence, RunOf
from terrablate.study.measures import Measure, complete
from terrablate.study.statistics.bootstrap import difference_interval, image_draws, is_known_metric, resampled

type Floats = npt.NDArray[np.float64]

_AGREES = 2e-4
"""By which a metric computed again may differ from the recorded one: float32, and another order of summing."""


@dataclasses.dataclass(frozen=True)
class ImageNoise:
    """Draws of the primary metric.

    Args:
        draws: of each run, by variant and seed.
        note: how the images were drawn, or why they were not.
    """

    draws: Mapping[tuple[str, int], Floats]
    note: str


def image_noise(evidence: Evidence, measure: Measure, seeds: Sequence[int], problems: list[str]) -> ImageNoise:
    """Draw the val images of all runs anew, the same ones for every run.

    Args:
        evidence: of a study.
        measure: the primary one.
        seeds: that count.
        problems: takes a sentence for each damaged file.
    """
    runs = [run for run in complete(evidence) if run.seed in seeds and run.folder and measure.column in run.values]
    found: dict[tuple[str, int], Floats] = {}
    ids: npt.NDArray[np.str_] | None = None
    weights = np.empty((0, 0))
    note = ""
    for run in runs:
        assert run.folder is not None
        content = _predictions(run.folder, _weights_of(run, measure), problems)
        if content is None:
            continue
        own_ids, labels, logits = content
        if not is_known_metric(measure.metric, labels):
            return ImageNoise({}, f"the noise of the val set is not computed for {measure.metric}")
        if ids is None:
            ids = own_ids
            groups, note = _groups(run.config, ids)
            weights = image_draws(groups)
        elif not np.array_equal(ids, own_ids):
            return ImageNoise({}, "the noise of the val set is not computed: the runs have different val images")
        again = float(resampled(logits, labels, measure.metric, np.ones((1, len(labels))))[0])
        if abs(again - run.values[measure.column]) > _AGREES:
            problems.append(
                f"{run.folder.name}/val_predictions.npz: gives {measure.metric} {again:.4f}, the record"
                f" {run.values[measure.column]:.4f}; left out of the bootstrap over images"
            )
            continue
        found[run.variant, run.seed] = resampled(logits, labels, measure.metric, weights)
    if not found:
        return ImageNoise({}, "the noise of the val set is not known: no run has val_predictions.npz")
    return ImageNoise(found, note)


def with_image_noise(rows: Sequence[Effect], noise: ImageNoise, evidence: Evidence) -> list[Effect]:
    """Means and comparisons of single variants with their interval over val images."""
    seeds_of: dict[str, set[int]] = {}
    for variant, seed in noise.draws:
        seeds_of.setdefault(variant, set()).add(seed)
    found = []
    for row in rows:
        base = evidence.baseline.name if row.kind == "comparison" else None
        seeds = set(seeds_of.get(row.name, ()))
        if base is not None:
            seeds &= seeds_of.get(base, set())
        if row.kind not in ("variant", "comparison") or not seeds or row.estimate is None:
            found.append(row)
            continue
        mine = [noise.draws[row.name, seed] for seed in sorted(seeds)]
        other = [noise.draws[base, seed] if base else np.zeros_like(mine[0]) for seed in sorted(seeds)]
        low, high = difference_interval(mine, other)
        found.append(dataclasses.replace(row, image_low=low, image_high=high))
    return found


def _weights_of(run: RunOf, measure: Measure) -> str:
    return run.texts.get("deployed.which", "last") if measure.which == "deployed" else measure.which


def _predictions(
    folder: Path, which: str, problems: list[str]
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64], Floats] | None:
    file = folder / "val_predictions.npz"
    try:
        with np.load(file, allow_pickle=False) as content:
            ids, labels = content["ids"], content["labels"].astype(np.int64)
            logits = content[f"logits_{which}"].astype(float)
        if ids.ndim != 1 or logits.ndim != 2 or not len(ids) == len(labels) == len(logits) > 0:
            raise ValueError("arrays of different lengths")
        return ids, labels, logits
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        problems.append(f"{folder.name}/val_predictions.npz: is damaged; left out of the bootstrap over images")
        return None


def _groups(config: Mapping[str, Any], ids: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.int64], str]:
    """A number for each image's group, and how that is known."""
    data = config.get("data") or {}
    single = np.arange(len(ids))
    names: list[str] | None = None
    if data.get("split_by") == "group" and data.get("group_pattern"):
        pattern = re.compile(str(data["group_pattern"]))
        matches = [pattern.search(str(name)) for name in ids]
        if all(matches):
            names = [match.group(1 if pattern.groups else 0) or "" for match in matches if match]
    elif data.get("split_by") == "group" and data.get("group_csv"):
        from terrablate.data.folder_listing import read_group_csv

        try:
            names = read_group_csv(Path(data["group_csv"]), [str(name) for name in ids])
        except UserError:
            names = None
    if names is not None:
        numbers = np.unique(names, return_inverse=True)[1]
        count = numbers.max() + 1
        return numbers, f"{len(ids)} val images, drawn by group ({count} groups), runs held fixed"
    apart = "" if data.get("split_by") in ("group", "block") else "; neighbours in one scene would make it wider"
    known = " of which the groups are not at hand" if data.get("split_by") in ("group", "block") else ""
    return single, f"{len(ids)} val images{known}, drawn one by one, runs held fixed{apart}"
