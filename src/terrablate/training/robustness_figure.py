"""The picture of robustness curves: a panel for each shift."""

import math
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from terrablate.training.figures import PROBE, VAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_Z = 1.96
"""Of a 95 % interval."""


def draw_robustness(file: IO[bytes], title: str, content: Mapping[str, Any]) -> None:
    """Val accuracy against the amount of each shift, as a PNG.

    All panels share the axis of accuracy. Bands are 95 % intervals for a share of so many images (Wilson 1927); a
    dashed line is the accuracy without a shift; the number beside a name is the change from there to the strongest.

    Args:
        file: gets the PNG.
        title: above all.
        content: `images`, `unshifted`, `summary` and `shifts`, as `robustness.evaluate_robustness` gives them.
    """
    from matplotlib.figure import Figure

    shifts: Mapping[str, Any] = content["shifts"]
    rows = math.ceil(len(shifts) / _COLUMNS)
    figure = Figure(figsize=(2.9 * _COLUMNS, 2.75 * rows + 1.1), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
    flat: list[Axes] = list(panels.flat)
    accuracy_name = content.get("accuracy_name", "accuracy")
    for axes, (name, curve) in zip(flat, shifts.items(), strict=False):
        _panel(axes, name, curve, content["unshifted"]["accuracy"], content["images"], accuracy_name)
    for axes in flat[len(shifts) :]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel(f"val {accuracy_name}")
    handles, names = flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    note = "; synthetic data, not real" if content["synthetic"] else ""
    figure.suptitle(
        f"{title}: {content['images']:,} val images under shifts{note}\n"
        f"{accuracy_name} {content['unshifted']['accuracy']:.3f} without a shift,"
        f" {content['summary']['mean_accuracy']:.3f} on average over shifts and severities;"
        " beside each name: change at its strongest",
        fontsize=11,
    )
    figure.savefig(file, format="png", dpi=130)


def _panel(
    axes: "Axes", name: str, curve: Mapping[str, Any], unshifted: float, images: int, accuracy_name: str
) -> None:
    amount, accuracy = curve["amount"], curve["accuracy"]
    low, high = zip(*(wilson(share, images) for share in accuracy), strict=True)
    axes.axhline(unshifted, color="0.35", linestyle="--", linewidth=1.2, label="without a shift")
    axes.fill_between(amount, low, high, color=VAL, alpha=0.15, linewidth=0, label="95 % interval")
    axes.plot(amount, accuracy, color=VAL, marker="o", markersize=4, label=f"val {accuracy_name}")
    heading: dict[str, Any] = {"fontsize": 11, "fontweight": "bold", "pad": 16}
    axes.set_title(name.replace("_", " "), loc="left", **heading)
    axes.set_title(
        f"{accuracy[-1] - unshifted:+.3f}".replace("-", "\N{MINUS SIGN}"), loc="right", color=PROBE, **heading
    )
    axes.text(0, 1.025, curve["meaning"], transform=axes.transAxes, fontsize=8, color="0.3")
    axes.set(xlabel=curve["unit"], ylim=(0, 1.02), xticks=amount)
    axes.set_xticklabels([f"{each:g}" for each in amount])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share among so many (Wilson 1927); NaN for NaN."""
    middle = share + _Z**2 / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return (middle - half) / (1 + _Z**2 / count), (middle + half) / (1 + _Z**2 / count)
