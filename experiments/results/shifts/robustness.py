"""The robustness curves of the study `shifts`: `python robustness.py <studies_dir>/shifts`.

Prints a Markdown table of what each variant loses, and writes `robustness.csv` and `robustness.png` beside this file.
"""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

BASELINE = "none"
STYLES = {
    "none": ("black", "-"), "flip": ("#0072B2", "--"), "flip_color": ("#D55E00", "-"), "rotate90": ("#009E73", "-"),
    "mixup": ("#CC79A7", "--"), "label_smoothing": ("#E69F00", ":"), "ema": ("#56B4E9", ":"),
    "adversarial": ("#7F7F7F", "-."),
}  # fmt: skip
"""Colours of Okabe and Ito, told apart by line style, too."""


def main(study: Path) -> None:
    """Read the study's table and records; write and print."""
    here = Path(__file__).parent
    rows: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    with (study / "runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows[row["variant"]][int(row["seed"])] = row
    seeds = sorted(rows[BASELINE])
    shifts: dict[str, list[dict[str, Any]]] = {
        name: [json.loads((Path(runs[seed]["folder"]) / "robustness.json").read_text()) for seed in seeds]
        for name, runs in rows.items()
    }
    names = list(shifts[BASELINE][0]["shifts"])
    print("| variant | " + " | ".join(names) + " |\n|---|" + "--:|" * len(names))  # noqa: T201
    curves = []
    for variant, found in shifts.items():
        lost = []
        for name in names:
            accuracy = np.array([each["shifts"][name]["accuracy"] for each in found])
            amounts = found[0]["shifts"][name]["amount"]
            curves += [
                {"variant": variant, "shift": name, "amount": amount, "seed": seed, "accuracy": accuracy[s, a]}
                for s, seed in enumerate(seeds)
                for a, amount in enumerate(amounts)
            ]
            lost.append(f"{(accuracy[:, -1] - accuracy[:, 0]).mean():+.3f}")
        print(f"| `{variant}` | " + " | ".join(lost) + " |")  # noqa: T201
    _write_csv(here / "robustness.csv", curves)
    _draw(here / "robustness.png", shifts, names)


def _draw(path: Path, shifts: dict[str, list[dict[str, Any]]], names: Sequence[str]) -> None:
    figure, panels = plt.subplots(2, 4, figsize=(12, 6.4), sharey=True, layout="constrained")
    for axes, name in zip(panels.flat, names, strict=True):
        for variant, found in shifts.items():
            colour, line = STYLES[variant]
            curve = found[0]["shifts"][name]
            mean = np.mean([each["shifts"][name]["accuracy"] for each in found], axis=0)
            axes.plot(curve["amount"], mean, color=colour, linestyle=line, marker="o", markersize=2.5, label=variant)
        axes.set(title=name, xlabel=curve["unit"])
        axes.grid(alpha=0.25)
    for row in panels:
        row[0].set_ylabel("val accuracy")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False)
    figure.suptitle("Val accuracy under graded shifts, mean over the seeds")
    figure.savefig(path, dpi=110)


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()} for row in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
