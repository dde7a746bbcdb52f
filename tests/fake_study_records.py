"""Studies on disk with made-up records, for tests of what reads them; whole within a second, and without torch."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from terrablate.study.outcome import Outcome
from terrablate.study.plan import PlannedRun
from terrablate.study.run_table import RunTable, _row

FAILS, DIVERGES, WAITS = "failed", "diverged", "planned"


@dataclass
class FakeStudy:
    """What is made up; each run of variant v and seed s has accuracy `score(v, s)` at its last epoch.

    `ends` says of single runs, by variant and seed, that they did not end well.
    """

    folder: Path
    name: str = "fake"
    question: str = "Which trick helps?"
    variants: Sequence[str] = ("none", "flip", "mixup")
    seeds: Sequence[int] = (0, 1, 2)
    epochs: int = 12
    classes: Sequence[str] = ("Forest", "River", "Sea & Lake")
    images: int = 30
    several: bool = False
    synthetic: bool = False
    pictures: int = 4
    robust: bool = True
    smallest_effect: float | None = None
    design: str = "list"
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ends: Mapping[tuple[str, int], str] = field(default_factory=dict)
    score: Callable[[int, int], float] = lambda v, s: 0.6 + 0.05 * v + 0.01 * ((7 * v + 3 * s) % 5 - 2)

    @property
    def home(self) -> Path:
        """The study's folder."""
        return self.folder / "studies" / self.name

    def run_folder(self, variant: int, seed: int) -> Path:
        """Of a run's record."""
        return self.folder / "runs" / f"run-v{variant}-s{seed}"

    def write(self) -> Path:
        """Write everything and give the study's folder."""
        runs, rows = [], []
        for seed in self.seeds:
            for place, variant in enumerate(self.variants):
                levels = dict(self.levels.get(variant, {"variant": variant}))
                run = PlannedRun(variant, levels, seed, ("a=b",), f"{place}-{seed}", {}, added=False)
                runs.append(run)
                rows.append(_row(run, self._outcome(place, variant, seed)))
        self.home.mkdir(parents=True, exist_ok=True)
        definition = {
            "name": self.name, "question": self.question, "design": self.design, "factors": None,
            "variants": {name: [] for name in self.variants}, "baseline": None, "seeds": list(self.seeds),
            "metric": "accuracy", "deployed": "auto", "smallest_effect": self.smallest_effect,
            "overrides": ["data=folder"], "aliases": [], "resolution": None,
        }  # fmt: skip
        (self.home / "study.yaml").write_text(yaml.safe_dump(definition, allow_unicode=True), encoding="utf-8")
        table = RunTable(self.home / "plan.json", self.home / "runs.csv")
        table.settle(runs)
        table._write(runs, rows)
        return self.home

    def _outcome(self, place: int, variant: str, seed: int) -> Outcome | None:
        end = self.ends.get((variant, seed), "complete")
        if end == WAITS:
            return None
        if end == FAILS:
            return Outcome(status=1, kind="failed", reason="RuntimeError: <b>out</b> of luck")
        folder = self.run_folder(place, seed)
        folder.mkdir(parents=True, exist_ok=True)
        self._record(folder, place, seed, diverged=end == DIVERGES)
        reason = "val NLL is NaN" if end == DIVERGES else None
        return Outcome(0.5, kind="diverged" if end == DIVERGES else "complete", folder=str(folder), reason=reason)

    def _record(self, folder: Path, place: int, seed: int, *, diverged: bool) -> None:
        rows = self._curves(place, seed, diverged)
        best = min((row for row in rows if row["nll/val"]), key=lambda row: float(row["nll/val"]), default=rows[0])
        numbers = {key: float(value) if value else None for key, value in rows[-1].items()}
        at_best = {key: float(value) if value else None for key, value in best.items()}
        for scores in (numbers, at_best):
            scores["epoch"] = int(scores["epoch"] or 0)
        verdict = "diverged" if diverged else "fits" if place % 3 == 2 else "overfits"
        onset = at_best["epoch"] if place % 3 != 2 and not diverged else None
        result = {
            "status": "diverged" if diverged else "complete", "run_id": folder.name, "seed": seed,
            "levels": {}, "synthetic": self.synthetic, "classes": list(self.classes),
            "labels": "several" if self.several else "one", "bands": ["red", "green", "blue"],
            "images": {"train": 100, "val": self.images, "probe": self.images}, "epochs": self.epochs,
            "best": at_best, "last": numbers, "deployed": {"which": "last", **numbers},
            "overfitting": {"onset_epoch": onset, "verdict": verdict, "sentence": f"{verdict}, as made up"},
            "early_stopping": [{"patience": 3, "stop_epoch": 9, "best_epoch": 5, "accuracy/val": 0.6, "saved": 0.25}],
            "floor": {"random_forest": {"accuracy": 0.55, "nll": 1.0}, "best": "random_forest"},
            "finetune": {"stages": [{"name": "head", "parameters": 10, "trained_from_epoch": 1, "rate": 1.0}]},
            "cost": {"seconds": 10.0 + place, "parameters": 1000 * (place + 1)},
            "provenance": {"identity": folder.name, "commit": "0123456789abcdef", "dirty": False, "code": "c" * 64,
                           "device": "a CPU", "packages": {"torch": "2.15.0"}},
        }  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        config = {"data": {"name": "folder", "image_size": 8}, "aug": {"name": self.variants[place]}, "seed": seed}
        (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        if not diverged:
            self._predictions(folder, place, seed)

    def _curves(self, place: int, seed: int, diverged: bool) -> list[dict[str, str]]:
        end = self.score(place, seed)
        rows = []
        for epoch in range(1, self.epochs + 1):
            share = epoch / self.epochs
            rise = 0.3 * max(share - 0.5, 0) * (3 - place % 3)
            val = 1.2 - 0.6 * min(share * 2, 1) + rise + 0.003 * ((5 * place + 2 * seed) % 4)
            accuracy = end * (1 - math.exp(-5 * share)) / (1 - math.exp(-5))
            numbers = {
                "nll/val": val, "accuracy/val": accuracy, "ece/val": 0.1 * share, "nll/probe": 1.2 - share,
                "accuracy/probe": 0.5 + 0.5 * share, "gap/loss": val - 1.2 + share,
                "gap/accuracy": 0.5 + 0.5 * share - accuracy,
            }  # fmt: skip
            if diverged and epoch > 2:
                numbers = dict.fromkeys(numbers, math.nan)
            known = {key: f"{value:.7f}" if math.isfinite(value) else "nan" for key, value in numbers.items()}
            rows.append({"epoch": str(epoch), "step": str(epoch * 10), "lr": "0.001", **known})
        if diverged:
            rows[-1] = {key: "" if value == "nan" else value for key, value in rows[-1].items()}
        return rows

    def _predictions(self, folder: Path, place: int, seed: int) -> None:
        stream = np.random.default_rng([place, seed])
        count, size = self.images, len(self.classes)
        labels: Any = (np.arange(count) % size).astype(np.int64)
        logits = stream.normal(size=(count, size)).astype(np.float32)
        if self.several:
            labels = (np.arange(count)[:, None] % np.arange(2, size + 2) == 0).astype(np.int64)
            logits += 2 * labels - 1
        else:
            logits[np.arange(count), labels] += 1.0 + 0.3 * place
        ids = np.asarray([f"image-{number}.png" for number in range(count)])
        np.savez(folder / "val_predictions.npz", logits_last=logits, logits_best=logits, labels=labels, ids=ids)
        (folder / "suspects.csv").write_text(
            "id,given,suggested,score\ntrain-1.png,Forest,River,0.01\n", encoding="utf-8"
        )
        if self.robust:
            curve = {
                "unit": "degrees",
                "meaning": "turned",
                "amount": [0.0, 9.0],
                "accuracy": [0.7, 0.6 - 0.01 * place],
                "nll": [1.0, 1.2],
            }
            (folder / "robustness.json").write_text(json.dumps({"shifts": {"rotation": curve}}))
        if self.pictures:
            self._worst(folder, labels, logits)

    def _worst(self, folder: Path, labels: Any, logits: Any) -> None:
        (folder / "worst").mkdir(exist_ok=True)
        wrong = range(self.images) if self.several else np.flatnonzero(logits.argmax(1) != labels).tolist()
        index = []
        for rank, number in enumerate(list(wrong)[: self.pictures]):
            buffer = io.BytesIO()
            colour = ((37 * number) % 256, (91 * number) % 256, (13 * number) % 256)
            Image.new("RGB", (16, 16), colour).save(buffer, format="PNG")
            (folder / "worst" / f"{rank:02}.png").write_bytes(buffer.getvalue())
            index.append({"file": f"worst/{rank:02}.png", "id": f"image-{number}.png"})
        (folder / "worst" / "index.json").write_text(json.dumps(index))
