"""Effects as a page shows them: rows with written numbers, and the tables of a paper."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from terrablate.report.names import counted, difference, interval, metric, number, sign_of
from terrablate.study.statistics.power import MOST_SEEDS

if TYPE_CHECKING:
    from terrablate.study.effects import Effect

VIEWS = {
    "comparison": "variants against the baseline",
    "main_effect": "main effects",
    "interaction": "two-way interactions",
    "alias_chain": "chains of aliased effects",
}
"""Kinds of effects that a forest plot shows, and what they are called."""
_NUMBERS = (
    "estimate", "low", "high", "low_single", "high_single", "image_low", "image_high", "smallest_effect", "detectable",
    "test_estimate", "test_low", "test_high", "sd",
)  # fmt: skip
_DIGITS = 6
_MARKDOWN = ("|", "\\", "`", "*", "_", "[", "]", "<", ">", "#")


def title_of(effect: "Effect") -> str:
    """Name of a row: of a main effect its factor and level."""
    if effect.kind in ("main_effect", "response") and effect.factor:
        return f"{effect.factor}: {effect.level}" if effect.level else effect.factor
    return effect.name


def page_rows(effects: Sequence["Effect"], declared: str) -> list[dict[str, Any]]:
    """All effects for the page's scripts: texts, numbers, None where there is none.

    Args:
        effects: of the answer.
        declared: weights that the study declares, which the page does not name each time.
    """
    found = []
    for effect in effects:
        row = {name: _plain(getattr(effect, name)) for name in _NUMBERS}
        texts = ("kind", "name", "factor", "level", "role", "verdict", "method", "seeds", "n")
        row |= {name: getattr(effect, name) for name in texts}
        if effect.kind == "onset" and effect.baseline:
            row["kind"] = "comparison"  # of the epochs before the onset, beside those of the other metrics
        row["metric"] = effect.metric if effect.which in ("", declared) else f"{effect.metric} ({effect.which})"
        row["title"] = title_of(effect)
        row["needed"] = needed(effect)
        found.append(row)
    return found


def needed(effect: "Effect") -> str:
    """Seeds that it takes, in words; '' where nothing is known."""
    seeds = effect.seeds_needed
    if seeds is None:
        return ""
    return f"over {MOST_SEEDS}" if math.isinf(seeds) else f"{seeds:.0f}"


def primary(effects: Iterable["Effect"], name: str) -> list["Effect"]:
    """The effects that answer the question: of the primary metric, of the kind that the design estimates.

    None where nothing could be estimated; else also those of variants that have no figures.

    Args:
        effects: of the answer.
        name: of the primary metric.
    """
    found = [each for each in effects if each.metric == name and each.role == "primary" and each.kind in VIEWS]
    found = [each for each in found if each.seeds == "planned"] or found
    for kind in ("main_effect", "alias_chain", "comparison"):
        own = [each for each in found if each.kind == kind]
        if any(each.estimate is not None for each in own):
            return own
    return []


def means(effects: Iterable["Effect"], name: str) -> dict[str, "Effect"]:
    """The mean of the primary metric of each variant."""
    return {e.name: e for e in effects if e.kind == "variant" and e.metric == name and e.role == "primary"}


def table_rows(effects: Sequence["Effect"], values: dict[str, "Effect"]) -> list[dict[str, str]]:
    """The primary effects, with each number as a reader sees it."""
    found = []
    for effect in effects:
        mean = values.get(effect.name)
        found.append(
            {
                "title": title_of(effect),
                "n": str(effect.n),
                "mean": number(mean.estimate, 3) if mean else "",
                "difference": difference(effect.metric, effect.estimate),
                "interval": interval(effect.metric, effect.low, effect.high),
                "verdict": effect.verdict,
                "sign": sign_of(effect.verdict),
                "detectable": number(_scaled(effect, effect.detectable), metric(effect.metric).digits),
                "needed": needed(effect),
                "test": difference(effect.metric, effect.test_estimate),
                "test_interval": interval(effect.metric, effect.test_low, effect.test_high),
            }
        )
    return found


def onset_rows(effects: Sequence["Effect"]) -> list[dict[str, str]]:
    """By variant: runs with an onset, the interval of their share, epochs before it, and its difference."""
    by_name: dict[str, dict[str, Effect]] = {}
    for effect in effects:
        if effect.kind == "onset":
            key = "difference" if effect.baseline else effect.metric
            by_name.setdefault(effect.name, {})[key] = effect
    rows = []
    for name, found in by_name.items():
        share, time, gain = (found.get(key) for key in ("onset_share", "onset_restricted_mean", "difference"))
        runs = share.n if share else 0
        rows.append(
            {
                "name": name,
                "runs": "" if share is None else f"{round((share.estimate or 0) * runs)} of {counted(runs, 'run')}",
                "share": "" if share is None else interval("onset_share", share.low, share.high),
                "epochs": "" if time is None else number(time.estimate, 1),
                "difference": "" if gain is None else difference(gain.metric, gain.estimate),
                "interval": "" if gain is None else interval(gain.metric, gain.low, gain.high),
            }
        )
    return rows


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose cells are text and no markup.

    Args:
        header: of its columns.
        rows: of cells.
        left: how many columns are not numbers.
    """
    rule = ["---" if place < left else "--:" for place in range(len(header))]
    lines = [header, rule, *([plain_markdown(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain_markdown(text: str) -> str:
    """Text of a config or a class name as Markdown shows it, not as it would read it."""
    return "".join(f"\\{sign}" if sign in _MARKDOWN else sign for sign in " ".join(text.split()))


def _scaled(effect: "Effect", value: float | None) -> float | None:
    return None if value is None else value * metric(effect.metric).factor


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, _DIGITS) if math.isfinite(value) else None
