"""Val and the images that were opened side by side: a table for the terminal, and one with a row a run."""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from terrablate.evaluation.openings import Opening
from terrablate.evaluation.outcome import Figures, Finding
from terrablate.evaluation.subjects import LeftOut
from terrablate.study.run_table import write_text

_WIDTH = 160
"""Characters of a line where there is no terminal."""
_IN_POINTS = ("accuracy", "accuracy_macro", "label_accuracy")


def write_runs(
    folder: Path, stem: str, findings: Sequence[Finding], left_out: Sequence[LeftOut], opening: Opening | None
) -> None:
    """Write `<stem>.csv` into the folder of a study: a row for each planned run, those without figures included.

    Args:
        folder: of the study.
        stem: such as `test`.
        findings: of the runs that were evaluated.
        left_out: runs that were not.
        opening: None for val.
    """
    name = stem.split("-")[0]
    rows: list[dict[str, Any]] = []
    for finding in findings:
        subject = finding.subject
        row: dict[str, Any] = {"variant": subject.variant, "seed": subject.seed, "status": subject.result["status"]}
        row |= {"reason": "", "folder": str(subject.record.folder), "which": subject.which}
        row |= {"opening": opening.count if opening else "", "opened": opening.time if opening else ""}
        row |= _columns("val", finding.val.figures)
        if finding.opened:
            row |= {"images": len(finding.opened.ids)} | _columns(name, finding.opened.figures)
        rows.append(row)
    rows += [{"variant": run.variant, "seed": run.seed, "status": run.status, "reason": run.reason} for run in left_out]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)
    write_text(folder / f"{stem}.csv", buffer.getvalue())


def _columns(prefix: str, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """`val.accuracy` for the plain figures, `val.tta.accuracy` for those of an option."""
    return {
        f"{prefix}.{name}" if option == "plain" else f"{prefix}.{option}.{name}": value
        for option, each in figures.items()
        for name, value in each.items()
    }


def show_runs(findings: Sequence[Finding], left_out: Sequence[LeftOut], metric: str, opened: str) -> None:
    """A row for each variant and option on stdout: the metric, NLL and ECE on val, and on other images beside it.

    Args:
        findings: of the runs.
        left_out: runs without figures, which are named.
        metric: of which is told first.
        opened: what the other images are called, such as `test`.
    """
    by_variant: dict[str, list[Finding]] = {}
    for finding in findings:
        by_variant.setdefault(finding.subject.variant, []).append(finding)
    both = findings[0].opened is not None

    def table(metrics: Sequence[str]) -> Table:
        found = _table("variant", "weights", "seeds")
        for name in metrics:
            for column in (f"{name} val", *((opened, "change") if both else ())):
                found.add_column(column, justify="right")
        for variant, members in by_variant.items():
            for option in dict.fromkeys(option for member in members for option in member.val.figures):
                having = [member for member in members if option in member.val.figures]
                cells = [variant if option == "plain" else f"  {option}", having[0].subject.which, str(len(having))]
                for name in metrics:
                    val = [member.val.figures[option][name] for member in having]
                    cells.append(_spread(val))
                    if both:
                        new = [member.opened.figures[option][name] for member in having if member.opened]
                        cells += [_spread(new), difference(name, fmean(new) - fmean(val))]
                found.add_row(*map(Text, cells))
        return found

    _print(table, metric)
    for run in left_out:
        sys.stdout.write(f"without figures: {run.variant}, seed {run.seed} ({run.status}): {run.reason}\n")


def show_ensembles(found: Sequence[Mapping[str, Any]], metric: str, opened: str) -> None:
    """A row for each ensemble on stdout; in brackets by how much it exceeds the mean of its members.

    Args:
        found: by `ensembles`.
        metric: of which is told first.
        opened: what the other images are called.
    """
    sides = [("val", "val"), *((("opened", opened),) if found and found[0]["opened"] else ())]

    def table(metrics: Sequence[str]) -> Table:
        made = _table("ensemble", "of", "members")
        for name in metrics:
            for number, (_, words) in enumerate(sides):
                made.add_column(words if number else f"{name} {words}", justify="right")
        for entry in found:
            cells = [entry["variant"], entry["kind"], str(len(entry["members"]))]
            for name in metrics:
                for where, _ in sides:
                    value, mean = entry[where]["figures"][name], entry[where]["members"][name]
                    cells.append(f"{value:.3f} ({difference(name, value - mean)})")
            made.add_row(*map(Text, cells))
        return made

    _print(table, metric)


def difference(metric: str, value: float) -> str:
    """With its sign; of accuracies in points (pt), a hundredth each."""
    return f"{100 * value:+.1f} pt" if metric in _IN_POINTS else f"{value:+.3f}"


def _spread(values: Sequence[float]) -> str:
    """Mean and, of several, standard deviation."""
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 2 else "right", overflow="fold")
    return table


def _print(table: Callable[[Sequence[str]], Table], metric: str) -> None:
    """All metrics beside each other if there is room, else one below the other."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=_WIDTH, highlight=False)
    metrics = list(dict.fromkeys((metric, "nll", "ece")))
    whole = table(metrics)
    if Console(width=10 * _WIDTH).measure(whole).maximum <= console.width:
        console.print(whole)
        return
    for name in metrics:
        console.print(table([name]))
