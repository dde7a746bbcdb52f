"""Tables of an answer: Markdown for `summary.md`, and a LaTeX table with booktabs."""

import math
import re
from collections.abc import Sequence

from terrablate.study.effects import Effect
from terrablate.study.wording import amount, mean, metric_name, signed, span

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns that are empty throughout are left out, all but the first are aligned to the right."""
    kept = [number for number in range(len(header)) if number == 0 or any(row[number] for row in rows)]
    lines = [[header[number] for number in kept], ["---", *["--:"] * (len(kept) - 1)]]
    lines += [[row[number].replace("|", r"\|").replace("\n", " ") for number in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def means_and_differences(means: Sequence[Effect], differences: Sequence[Effect]) -> str:
    """A row a variant: its mean, and its comparison where it has one."""
    by_name = {each.name: each for each in differences}
    header = ["variant", "runs", "mean", "sd", "difference", "95 % interval", "over val images", "on test", "verdict",
              "detectable", "seeds needed"]  # fmt: skip
    rows = []
    for each in means:
        other = by_name.get(each.name)
        metric = each.metric
        start = [
            f"`{each.name}`",
            str(each.n),
            "" if each.estimate is None else mean(each.estimate, metric),
            "" if each.sd is None else mean(each.sd, metric),
        ]
        rows.append(start + (_difference(other) if other else [""] * 7))
    return markdown(header, rows)


def effects_table(effects: Sequence[Effect]) -> str:
    """A row an effect, of factors or their interactions."""
    header = ["effect", "seeds", "estimate", "95 % interval", "over val images", "on test", "verdict", "detectable",
              "seeds needed"]  # fmt: skip
    rows = [[f"`{each.name}`", str(each.n), *_difference(each)] for each in effects]
    return markdown(header, rows)


def exploratory_table(effects: Sequence[Effect]) -> str:
    """A row a variant, a column a metric: difference with its pointwise interval."""
    columns = list(dict.fromkeys((each.metric, each.which) for each in effects))
    names = list(dict.fromkeys(each.name for each in effects))
    cells = {(each.name, each.metric, each.which): each for each in effects}
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for metric, which in columns:
            each = cells.get((name, metric, which))
            if each is None or each.estimate is None:
                row.append("")
                continue
            ends = span(each.low_single, each.high_single, metric)
            row.append(amount(each.estimate, metric) + (f" ({ends})" if ends else ""))
        rows.append(row)
    heads = [metric_name(metric) + (f", {which}" if which in ("best", "last") else "") for metric, which in columns]
    return markdown(["variant" if effects[0].kind == "comparison" else "effect", *heads], rows)


def latex(means: Sequence[Effect], differences: Sequence[Effect], effects: Sequence[Effect], caption: str) -> str:
    r"""A `table` for `\usepackage{booktabs}`: means with differences, or effects of factors.

    Args:
        means: of the variants.
        differences: of the variants to the baseline.
        effects: of factors, where the design estimates those; then there is no table of variants.
        caption: plain text.
    """
    if effects:
        head = "effect & estimate & 95\\,\\% interval & verdict"
        lines = [f"{escaped(e.name)} & {_shown(e)} & {_ends(e)} & {escaped(e.verdict)}" for e in effects]
        shape = "lrrl"
    else:
        by_name = {each.name: each for each in differences}
        head = "variant & $n$ & mean $\\pm$ sd & difference & 95\\,\\% interval & verdict"
        lines = []
        for each in means:
            other = by_name.get(each.name)
            spread = f" $\\pm$ {mean(each.sd, each.metric)}" if each.sd is not None else ""
            value = f"{mean(each.estimate, each.metric)}{spread}" if each.estimate is not None else "--"
            rest = f"{_shown(other)} & {_ends(other)} & {escaped(other.verdict)}" if other else "& &"
            lines.append(f"{escaped(each.name)} & {each.n} & {value} & {rest}")
        shape = "lrrrrl"
    body = "\n".join(f"    {line} \\\\" for line in lines)
    return (
        "% needs \\usepackage{booktabs}\n\\begin{table}\n  \\centering\n"
        f"  \\caption{{{escaped(caption)}}}\n"
        f"  \\begin{{tabular}}{{{shape}}}\n    \\toprule\n    {head} \\\\\n    \\midrule\n{body}\n"
        "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    )


def escaped(text: str) -> str:
    """Plain text for LaTeX."""
    return re.sub(r"[\\&%$#_{}~^<>]", lambda match: _ESCAPES[match.group()], text.replace("\n", " "))


def _difference(effect: Effect) -> list[str]:
    metric = effect.metric
    needed = effect.seeds_needed
    return [
        "" if effect.estimate is None else amount(effect.estimate, metric),
        span(effect.low, effect.high, metric),
        span(effect.image_low, effect.image_high, metric),
        "" if effect.test_estimate is None else _with_ends(effect),
        effect.verdict,
        "" if effect.detectable is None else amount(effect.detectable, metric).lstrip("+"),
        "" if needed is None else "more than 200" if math.isinf(needed) else f"{needed:g}",
    ]


def _with_ends(effect: Effect) -> str:
    ends = span(effect.test_low, effect.test_high, effect.metric)
    return amount(effect.test_estimate, effect.metric) + (f" ({ends})" if ends else "")


def _shown(effect: Effect) -> str:
    return "--" if effect.estimate is None else _plain(signed(effect.estimate, effect.metric))


def _ends(effect: Effect) -> str:
    return _plain(span(effect.low, effect.high, effect.metric)) or "--"


def _plain(text: str) -> str:
    """Minus signs as mathematics has them."""
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", text)
