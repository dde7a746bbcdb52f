"""What a study says in the terminal: its plan before it starts, what came of it at the end."""

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from terrablate.config.schema import Study
from terrablate.study.definition import label_of
from terrablate.study.designs import Design
from terrablate.study.folder import FAILED
from terrablate.study.plan import PlannedRun
from terrablate.study.run_table import Row


def show_plan(
    study: Study, design: Design, runs: Sequence[PlannedRun], done: Collection[tuple[str, int]], folder: Path
) -> None:
    """Variants, runs, those that are done, what is aliased."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    lines = [f"study {study.name}" + (f": {study.question}" if study.question else "")]
    lines.append(
        f"{len(design.variants)} variants x {len(seeds)} seeds = {len(runs)} runs, {len(done)} of them done;"
        f" primary metric {study.metric} of val; {folder}"
    )
    width = max(len(variant.name) for variant in design.variants)
    for number, variant in enumerate(design.variants):
        finished = sum((variant.name, seed) in done for seed in seeds)
        mark = "  (baseline)" if number == 0 else ""
        lines.append(f"  {variant.name:<{width}}  {finished}/{len(seeds)}{mark}")
    if design.resolution is not None:
        lines.append(
            f"resolution {design.resolution}: "
            + "; ".join(f"{name} = {' x '.join(basics)}" for name, basics in design.generators.items())
        )
        lines += [f"  aliased: {' = '.join(chain)}" for chain in design.aliases]
    if study.tune:
        settings = 1
        for values in study.tune.values():
            settings *= len(values)
        lines.append(
            f"before: {len(design.variants) * settings * study.tune_seeds} runs that tune {', '.join(study.tune)}"
        )
    if added := sum(run.added for run in runs):
        lines.append(f"{added} runs were added to an earlier plan")
    sys.stderr.write("\n".join(lines) + "\n")


def show_tuned(chosen: Mapping[str, Mapping[str, Any]]) -> None:
    """What was found best for each variant."""
    words = {
        variant: ", ".join(f"{k}={label_of(v)}" for k, v in setting.items()) for variant, setting in chosen.items()
    }
    sys.stderr.write("".join(f"tuned {variant}: {setting}\n" for variant, setting in words.items()))


def show_end(study: Study, runs: Sequence[PlannedRun], table: Sequence[Row], folder: Path) -> None:
    """How many runs ended how; each that failed with its reason; mean of the primary metric by variant."""
    counts = Counter(row["status"] for row in table)
    lines = [f"study {study.name}: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())]
    lines += [
        f"  {row['variant']} seed={row['seed']}: {row['status']}: {row['reason']}"
        for row in table
        if row["status"] in FAILED
    ]
    which = "deployed" if study.deployed == "auto" else study.deployed
    column = f"{which}.{study.metric}/val"
    for variant in dict.fromkeys(run.variant for run in runs):
        values = [float(row[column]) for row in table if row["variant"] == variant and row.get(column)]
        if values:
            spread = f"  ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else ""
            lines.append(f"  {variant}: median val {study.metric} {median(values):.4f} of {len(values)} seeds{spread}")
    lines.append(f"table         {folder / 'runs.csv'}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def show_answer(sentence: str, warnings: int, folder: Path) -> None:
    """The answer in a sentence, and where the rest of it is."""
    note = f" ({warnings} warning{'s' if warnings > 1 else ''})" if warnings else ""
    sys.stdout.write(f"answer        {sentence}\nsummary       {folder / 'summary.md'}{note}\n")
    sys.stdout.flush()
