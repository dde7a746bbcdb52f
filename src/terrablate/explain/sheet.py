"""Sheets of pictures: a grid whose every place is known beforehand, so that no words meet; words are never markup."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

type Array = npt.NDArray[Any]

DPI = 130
_LINE = 1.25 / 72
"""Inches of a line of words, a point of size."""
_LETTER = 0.56 / 72
"""Inches of a letter, a point of size: a little more than DejaVu Sans takes on average."""
WRONG = "#D55E00"
"""Vermilion of Okabe and Ito, always with a word or a form beside it."""


@dataclass(frozen=True)
class Cell:
    """A picture in a sheet."""

    picture: Array
    """H,W,3 in [0, 1], or H,W of numbers."""
    below: str = ""
    """Words below it; they may have several lines."""
    limits: tuple[float, float] | None = None
    """What the darkest and the lightest colour stand for, of numbers."""
    colors: str = "viridis"
    """Colour map of numbers."""
    mark: tuple[float, float, float] | None = None
    """A square around a place: row and column of its middle and its side, as parts of the picture."""
    frame: str | None = None


@dataclass(frozen=True)
class Row:
    """Cells side by side."""

    cells: Sequence[Cell | None]
    name: str = ""


@dataclass(frozen=True)
class Sheet:
    """A grid of pictures; lengths in inches."""

    title: str
    rows: Sequence[Row]
    note: str = ""
    side: float = 1.15
    gap: float = 0.12
    names: float = 0.0
    """Width of the names of rows; 0 for none."""
    group: int = 0
    """Columns that belong together, with more space after them; 0 for none."""
    lines_below: int = 0
    """Lines of words below each picture."""
    size: float = 7.5
    """Of words, in points."""

    def draw(self, file: IO[bytes]) -> None:
        """Write it as a PNG."""
        columns = max(len(row.cells) for row in self.rows)
        margin = 0.15
        step = self.side + self.gap
        apart = 0.3 if self.group else 0.0
        groups = -(-columns // self.group) if self.group else 1
        width = max(2 * margin + self.names + columns * step - self.gap + (groups - 1) * apart, 5.2)
        title = wrapped(self.title, width - 2 * margin, 9.5, 3)
        note = wrapped(self.note, width - 2 * margin, self.size, 6)
        top = margin + len(title) * 9.5 * _LINE + 0.06 + len(note) * self.size * _LINE + 0.08
        row_step = self.side + self.gap + self.lines_below * self.size * _LINE
        figure, axes = blank(width, top + len(self.rows) * row_step + 0.05)
        say(axes, margin, margin, "\n".join(title), 9.5, weight="bold")
        say(axes, margin, margin + len(title) * 9.5 * _LINE + 0.06, "\n".join(note), self.size, color="0.3")
        left = margin + self.names
        for number, row in enumerate(self.rows):
            above = top + number * row_step
            words = [line for part in row.name.splitlines() for line in wrapped(part, self.names - 0.05, self.size, 3)]
            say(axes, margin, above + self.side / 2, "\n".join(words), self.size, va="center")
            for column, cell in enumerate(row.cells):
                if cell is not None:
                    more = column // self.group * apart if self.group else 0.0
                    self._place(axes, cell, left + column * step + more, above)
        figure.savefig(file, format="png", dpi=DPI)

    def _place(self, axes: "Axes", cell: Cell, left: float, top: float) -> None:
        from matplotlib.patches import Rectangle

        low, high = cell.limits or (None, None)
        extent = (left, left + self.side, top + self.side, top)
        axes.imshow(
            cell.picture, extent=extent, interpolation="nearest", cmap=cell.colors, vmin=low, vmax=high, aspect="auto"
        )
        box = Rectangle((left, top), self.side, self.side, fill=False, linewidth=0.5, edgecolor="0.6")
        if cell.frame:
            box.set(linewidth=2.2, edgecolor=cell.frame)
        axes.add_patch(box)
        if cell.mark:
            row, column, side = (self.side * part for part in cell.mark)
            corner = (left + column - side / 2, top + row - side / 2)
            for line, color in ((2.0, "black"), (1.0, "white")):
                axes.add_patch(Rectangle(corner, side, side, fill=False, linewidth=line, edgecolor=color))
        lines = [fitted(line, self.side + self.gap, self.size) for line in cell.below.splitlines()[: self.lines_below]]
        say(axes, left + self.side / 2, top + self.side + 0.03, "\n".join(lines), self.size, ha="center")


def blank(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure with one axes over all of it, whose units are inches from the upper left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_autoscale_on(False)
    axes.axis("off")
    return figure, axes


def say(axes: "Axes", x: float, y: float, words: str, size: float, *, va: str = "top", **options: Any) -> None:
    """Write words as they are: no dollar sign starts a formula.

    Args:
        axes: from `blank`.
        x: from the left, in inches.
        y: from the top: of the upper end of the first line, the lower end of the last one, or the middle of all.
        words: their lines stand at fixed distances, whatever letters are in them.
        size: in points.
        va: top, bottom or center.
        options: of matplotlib's text.
    """
    lines = words.splitlines()
    above = {"top": 0.0, "bottom": 1.0, "center": 0.5}[va] * len(lines)
    for number, line in enumerate(lines):
        baseline = y + (number + 0.8 - above) * size * _LINE
        axes.text(x, baseline, line, fontsize=size, parse_math=False, va="baseline", **options)


def fitted(words: str, inches: float, size: float) -> str:
    """Words on one line, cut short where they are too long."""
    most = max(3, int(inches / (_LETTER * size)))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def wrapped(words: str, inches: float, size: float, most: int) -> list[str]:
    """Words on lines of this length, at most so many; the last is cut short where they are too long."""
    import textwrap

    letters = max(4, int(inches / (_LETTER * size)))
    return textwrap.wrap(words, letters, max_lines=most, placeholder=" …") if words else []


def mosaic(pictures: Sequence[Array], columns: int, gap: int = 1, fill: float = 1.0) -> Array:
    """Pictures of one form, H,W or H,W,3, in one picture, row by row."""
    height, width, *colors = pictures[0].shape
    rows = -(-len(pictures) // columns)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *colors), fill, dtype=np.float64)
    for number, picture in enumerate(pictures):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        whole[top : top + height, left : left + width] = picture
    return whole
