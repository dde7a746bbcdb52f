"""An estimate with its interval, and `effects.csv`, a row an estimate."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from terrablate.errors import UserError
from terrablate.study.run_table import write_text

type Kind = Literal["variant", "comparison", "main_effect", "interaction", "alias_chain", "response", "onset"]
type Verdict = Literal["helps", "hurts", "no relevant effect", "undecided", ""]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An estimate, a row of `effects.csv`; None is an empty cell.

    Args:
        kind: what is estimated.
        name: of the variant or of the effect; chains of aliases as `a:b = c:d`.
        factor: that an effect is of.
        level: of that factor.
        baseline: what the estimate is a difference to; empty for a mean.
        metric: accuracy, nll, gap_loss, onset_share, ...
        role: primary for the one declared metric and its family of comparisons, else exploratory.
        which: weights that the figures are of: deployed, best, last.
        higher_is_better: of the metric.
        n: runs of a mean, or seeds that inform a difference.
        estimate: mean, or difference to the baseline, in the unit of the metric.
        sd: over seeds; of a comparison the standard deviation of one paired difference.
        se: standard error.
        df: degrees of freedom.
        low: lower end of the 95 % interval; simultaneous over the family of primary comparisons, else pointwise.
        high: its upper end.
        low_single: lower end of the pointwise 95 % interval.
        high_single: its upper end.
        method: how the interval was made.
        image_low: lower end of the 95 % bootstrap interval over val images, the runs being held fixed.
        image_high: its upper end.
        smallest_effect: of interest, as the study declares it.
        verdict: of a primary effect, on the variant as it stands: where a trick is left out, `hurts` speaks for it.
        detectable: smallest effect that these seeds would have found with 80 % power.
        seeds_needed: for 80 % power; infinite where more than are counted.
        test_estimate: of the test split, where it was opened.
        test_low: lower end of its interval.
        test_high: its upper end.
        seeds: planned, or all with those that were added.
    """

    kind: Kind
    name: str
    factor: str = ""
    level: str = ""
    baseline: str = ""
    metric: str = "accuracy"
    role: Literal["primary", "exploratory"] = "exploratory"
    which: str = "deployed"
    higher_is_better: bool = True
    n: int = 0
    estimate: float | None = None
    sd: float | None = None
    se: float | None = None
    df: float | None = None
    low: float | None = None
    high: float | None = None
    low_single: float | None = None
    high_single: float | None = None
    method: str = ""
    image_low: float | None = None
    image_high: float | None = None
    smallest_effect: float | None = None
    verdict: Verdict = ""
    detectable: float | None = None
    seeds_needed: float | None = None
    test_estimate: float | None = None
    test_low: float | None = None
    test_high: float | None = None
    seeds: str = "planned"


COLUMNS = tuple(each.name for each in dataclasses.fields(Effect))
_TEXTS = {"kind", "name", "factor", "level", "baseline", "metric", "role", "which", "method", "verdict", "seeds"}


def write_effects(effects: Sequence[Effect], path: Path) -> None:
    """Write `effects.csv`, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for effect in effects:
        writer.writerow({name: _cell(getattr(effect, name)) for name in COLUMNS})
    write_text(path, buffer.getvalue())


def read_effects(path: Path) -> tuple[Effect, ...]:
    """Read `effects.csv`; columns that it lacks are empty, those that nobody knows are passed over.

    Raises:
        UserError: if the file is not there, or a row is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    reader = csv.DictReader(io.StringIO(text))
    if not {"kind", "name"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: is no table of effects; it lacks the columns kind and name")
    found = []
    for row in reader:
        try:
            found.append(Effect(**{name: _value(name, row[name]) for name in COLUMNS if row.get(name)}))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}, line {reader.line_num}: the row is damaged; write the answer again") from error
    return tuple(found)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _value(name: str, cell: str) -> Any:
    if name in _TEXTS:
        return cell
    if name == "higher_is_better":
        return {"true": True, "false": False}[cell]
    return int(cell) if name == "n" else float(cell)
