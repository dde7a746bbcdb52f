"""Still pictures of effects and curves, for papers and repository pages: PNG at 300 dpi and SVG."""

import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from terrablate.report import average
from terrablate.report.effect_views import title_of
from terrablate.report.names import difference, interval, metric, sign_of
from terrablate.training.figures import PROBE, VAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from terrablate.study.effects import Effect

_ONE_COLUMN, _TWO_COLUMNS = 4.8, 7.2
"""Widths in inches: a column of a wide page, and a page."""
_DPI = 300
_MOST_PANELS = 12
_MOST_ROWS = 40
_SMALL: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.hashsalt": "terrablate",
}
_MARKS = {"helps": ("^", "#00725A"), "hurts": ("v", "#B3460A"), "no relevant effect": ("s", "#4A5A78")}
_UNDECIDED = ("o", "#555D66")


def draw_effects(effects: Sequence["Effect"], baseline: str, note: str = "") -> dict[str, bytes]:
    """A forest plot of the primary effects, the best first: `png` and `svg`.

    Args:
        effects: of one metric and one kind, each with an estimate.
        baseline: name of the variant that comparisons are to.
        note: below the plot.
    """
    return _drawn(lambda figure: _forest(figure, effects, baseline, note))


def _forest(figure: "Figure", effects: Sequence["Effect"], baseline: str, note: str) -> None:
    told = metric(effects[0].metric)
    sign = -1 if told.higher_is_better is False else 1
    ranked = sorted(effects, key=lambda each: -sign * (each.estimate or 0))
    left_out = len(ranked) - _MOST_ROWS
    if left_out > 0:
        ranked = sorted(sorted(ranked, key=lambda e: -abs(e.estimate or 0))[:_MOST_ROWS], key=ranked.index)
        note = f"{note}; the {left_out} smallest of {len(effects)} effects are not shown".lstrip("; ")
    figure.set_size_inches(_ONE_COLUMN, 0.24 * len(ranked) + (1.05 if note else 0.85))
    axes = figure.subplots()
    smallest = next((each.smallest_effect for each in ranked if each.smallest_effect is not None), None)
    if smallest is not None:
        axes.axvspan(-smallest * told.factor, smallest * told.factor, color="0.88", linewidth=0)
    axes.axvline(0, color="0.2", linewidth=0.8)
    said = [_in_words(effect) for effect in ranked]
    column = 3.9 * max(len(words) for words in said) + 4
    for row, effect in enumerate(ranked):
        mark, colour = _MARKS.get(effect.verdict, _UNDECIDED)
        for low, high, width in ((effect.low, effect.high, 0.9), (effect.low_single, effect.high_single, 2.6)):
            if low is not None and high is not None:
                axes.plot([low * told.factor, high * told.factor], [row, row], color="0.45", linewidth=width)
        face = "white" if effect.verdict in ("undecided", "") else colour
        axes.plot((effect.estimate or 0) * told.factor, row, mark, color=colour, markersize=5, markerfacecolor=face)
        words = said[row]
        for text, shift in ((words, 0), (f"{sign_of(effect.verdict)} {effect.verdict}", column)):
            axes.annotate(
                text,
                (1.02, row),
                xytext=(shift, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=colour if shift else "0.1",
                annotation_clip=False,
            )
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    axes.set_yticks(range(len(ranked)), [shortened(title_of(effect), 26) for effect in ranked])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    unit = f", {told.unit}" if told.unit else ""
    to = f" to “{shortened(baseline, 20)}”" if effects[0].kind == "comparison" else ""
    axes.set_xlabel(f"difference of val {told.label}{to}{unit}")
    if told.higher_is_better is not None:
        right = told.higher_is_better
        axes.set_title("better →" if right else "← better", loc="right" if right else "left", fontsize=7, color="0.35")
    if note:
        figure.supxlabel(note, fontsize=6.5, color="0.35")


def _in_words(effect: "Effect") -> str:
    words = difference(effect.metric, effect.estimate)
    return f"{words} ({interval(effect.metric, effect.low, effect.high)})" if effect.low is not None else words


def draw_curves(data: dict[str, Any], places: Sequence[int], note: str = "") -> dict[str, bytes]:
    """Val and probe NLL against the epoch, a panel a variant with shared axes: `png` and `svg`.

    Args:
        data: of the page: `payload`.
        places: of the variants that are drawn, at most `MOST_PANELS`.
        note: below the panels.
    """
    return _drawn(lambda figure: _panels(figure, data, places, note))


def shown_in_curves(effects: Sequence["Effect"], variants: Sequence[str]) -> list[int]:
    """The baseline and the variants with the largest effects, as many as there are panels; in the order of the plan."""
    sizes = {each.name: abs(each.estimate or 0) for each in effects}
    others = sorted(range(1, len(variants)), key=lambda place: -sizes.get(variants[place], 0))[: _MOST_PANELS - 1]
    return sorted([0, *others])


def _panels(figure: "Figure", data: dict[str, Any], places: Sequence[int], note: str) -> None:
    columns = min(4, len(places))
    rows = math.ceil(len(places) / columns)
    width = _TWO_COLUMNS if columns > 2 else 2.6 * columns + 0.6
    figure.set_size_inches(width, 1.45 * rows + 0.75)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for axes, place in zip(panels, places, strict=False):
        _panel(axes, data, place)
    for axes in panels[len(places) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(places) - columns) : len(places)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch")
    for row in grid:
        row[0].set_ylabel("NLL, nats")
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=7)
    if note:
        figure.suptitle(note, fontsize=7, color="0.35")


def _panel(axes: "Axes", data: dict[str, Any], place: int) -> None:
    found = {part: average.mean_curve(data, place, f"nll/{part}") for part in ("val", "probe")}
    val, probe = found["val"], found["probe"]
    if val and probe and val.epochs == probe.epochs:
        axes.fill_between(val.epochs, probe.mean, val.mean, color="0.5", alpha=0.12, linewidth=0, label="gap")
    for part, colour, style in (("val", VAL, "-"), ("probe", PROBE, "--")):
        curve = found[part]
        if curve is None:
            continue
        if curve.runs > 1:
            axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.22, linewidth=0)
        label = "val" if part == "val" else "probe (train)"
        axes.plot(curve.epochs, curve.mean, style, color=colour, linewidth=1.2, label=label)
    for end in average.ends(data, place):
        mark, label = ("v", "onset of a seed") if end.is_onset else ("o", "best epoch, no onset")
        face = "0.1" if end.is_onset else "none"
        axes.plot(
            end.epoch, end.value, mark, color="0.1", markersize=4, markerfacecolor=face, label=label, linestyle=""
        )
    axes.set_title(shortened(data["variants"][place]["name"], 26), loc="left")
    axes.grid(color="0.92", linewidth=0.6)
    if val is None:
        axes.text(0.5, 0.5, "no run ended well", transform=axes.transAxes, ha="center", va="center", color="0.4")


def shortened(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _drawn(draw: Callable[["Figure"], None]) -> dict[str, bytes]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = {}
    with mpl.rc_context(_SMALL), _no_word_of_glyphs():
        figure = Figure(layout="constrained")
        draw(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it has done its work, which takes longer than the drawing
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
            found[kind] = buffer.getvalue()
    return found


@contextmanager
def _no_word_of_glyphs() -> "Iterator[None]":
    """A name in a script that the font lacks is drawn as boxes; that is not worth a warning a letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
