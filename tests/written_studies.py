"""Studies written straight to disk, with the figures that a test wants; nothing was trained."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from terrablate.study.answers import Answer, answer
from terrablate.study.effects import Effect
from terrablate.study.evidence import read_study

type Figures = Mapping[str, Sequence[float | str | None]]
"""Of each variant, seed by seed: a figure of the primary metric, a status, or None for a run that is missing."""


def write_study(
    folder: Path,
    figures: Figures,
    *,
    levels: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, Figures] | None = None,
    added: Sequence[int] = (),
    records: bool = False,
    config: Mapping[str, Any] | None = None,
    steps: Mapping[str, int] | None = None,
    **definition: Any,
) -> Path:
    """Write `study.yaml`, `plan.json` and `runs.csv`, and give the study's folder.

    Args:
        folder: of the study.
        figures: of the primary metric.
        levels: of each variant; a list of variants without.
        others: further columns, such as `overfitting.onset_epoch`.
        added: seeds that came later.
        records: write run folders, too, in `runs` beside the folder of studies.
        config: of each record.
        steps: of the optimizer, by variant.
        definition: keys of `study.yaml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"name": folder.name, "question": "Does it help?", "design": "list", "metric": "accuracy",
               "deployed": "auto", "variants": {name: [] for name in figures}, "overrides": ["model=small_cnn"],
               "command": ["study=s", "model=small_cnn", "runs_dir=/somewhere"],
               "aliases": [], "resolution": None, **definition}  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    metric = content["metric"]
    plan, rows = [], []
    for seed in range(max(map(len, figures.values()))):
        for variant, found in figures.items():
            if seed >= len(found):
                continue
            digest = hashlib.sha256(f"{variant} {seed}".encode()).hexdigest()[:16]
            own = dict((levels or {}).get(variant, {"variant": variant}))
            plan.append({"variant": variant, "levels": own, "seed": seed, "overrides": [], "digest": digest,
                         "tuned": {}, "added": seed in added})  # fmt: skip
            row: dict[str, Any] = {"variant": variant, **{f"level.{k}": v for k, v in own.items()}, "seed": seed,
                                   "status": "planned", "digest": digest, "added": str(seed in added).lower(),
                                   "reason": "", "folder": ""}  # fmt: skip
            figure = found[seed]
            if isinstance(figure, str):
                row |= {"status": figure, "reason": "so it goes"}
            elif figure is not None:
                row |= {"status": "complete", "deployed.which": "last"}
                row |= {f"{which}.{metric}/val": figure for which in ("deployed", "last", "best")}
                for column, values in (others or {}).items():
                    row[column] = "" if values[variant][seed] is None else values[variant][seed]
                if records:
                    run = folder.parents[1] / "runs" / f"{variant}-s{seed}"
                    row["folder"] = str(run)
                    write_record(run, figure, seed, config, (steps or {}).get(variant, 100), metric)
            rows.append(row)
    (folder / "plan.json").write_text(json.dumps(plan))
    write_rows(folder / "runs.csv", rows)
    return folder


def write_record(
    run: Path, figure: float, seed: int, config: Mapping[str, Any] | None, steps: int = 100, metric: str = "accuracy"
) -> None:
    """A run's folder."""
    run.mkdir(parents=True)
    scores = {f"{metric}/val": figure}
    result = {"status": "complete", "seed": seed, "deployed": {"which": "last", **scores}, "last": scores}
    (run / "result.json").write_text(json.dumps(result))
    (run / "metrics.csv").write_text(f"epoch,step\n1,{steps // 2}\n2,{steps}\n")
    data = {"train_per_class": 50, "subset_seed": seed}
    (run / "config.yaml").write_text(yaml.safe_dump({"data": data, "seed": seed, **(config or {})}))


def write_predictions(run: Path, right: Sequence[bool], ids: Sequence[str]) -> None:
    """`val_predictions.npz` of two classes in which the given images are right."""
    labels = np.arange(len(right)) % 2
    guess = np.where(right, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[guess] * 4
    np.savez(run / "val_predictions.npz", ids=np.array(ids), labels=labels, logits_best=logits, logits_last=logits)


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table, with the columns of all rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def figures_around(means: dict[str, float], spread: float = 0.004, seeds: int = 5) -> dict[str, list[float]]:
    """Around the means; of one spread, with a part that all variants of a seed share."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, spread, seeds)
    return {name: list(np.round(mean + shared + rng.normal(0, spread, seeds), 6)) for name, mean in means.items()}


def answered(folder: Path, found: Figures, **options: Any) -> Answer:
    """Of a study that is written below a folder."""
    return answer(read_study(write_study(folder / "studies" / "s", found, **options)))


def primary(found: Answer) -> dict[str, Effect]:
    """The effects that answer the question, by name."""
    return {each.name: each for each in found.effects if each.role == "primary" and each.kind != "variant"}
