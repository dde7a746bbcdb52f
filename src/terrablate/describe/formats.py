"""A description as a table for the terminal, as JSON or as CSV."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from terrablate.describe.layers import Description, Layer

_WIDTH = 120
"""Columns of a table where no terminal tells its own."""
_OPTIMIZERS = {"sgd": "plain SGD", "sgd_momentum": "SGD with momentum", "adam": "Adam"}
_RULES = (
    "MB = 10^6 bytes, float32, one image; MMACs = 10^6 multiply-accumulates of matrix products, one image."
    " Output: each layer's output once; in place and views add nothing. Kept: what autograd really keeps for the"
    " backward pass (measured), at the layer that saves it first; training memory counts this. Field: receptive field,"
    " pixels a side. Dense, Local: parameters of a dense and of a locally connected layer in a convolution's place."
)


def as_json(description: Description) -> str:
    """One object: the network, its layers, its totals."""
    return json.dumps(description.as_dict(), indent=2)


def as_csv(description: Description) -> str:
    """A row a layer, with a header; the output's shape as 64x112x112, an empty receptive field for the whole image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Layer)])
    for layer in description.layers:
        values: dict[str, Any] = vars(layer) | {"output": _shape(layer.output)}
        writer.writerow([_plain(value) for value in values.values()])
    return text.getvalue().rstrip("\n")


def as_table(description: Description, width: int | None = None) -> str:
    """A table for people, with its totals and the rules that its figures follow.

    Args:
        description: of a network.
        width: columns; by default those of the terminal, or 120.
    """
    console = Console(file=io.StringIO(), width=width) if width else _console()
    console.print(_layers(description.layers), _totals(description), Text(_RULES, style="dim"), sep="\n")
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().splitlines())


def _console() -> Console:
    terminal = Console()
    options: dict[str, Any] = {"width": min(terminal.width, _WIDTH) if terminal.is_terminal else _WIDTH}
    return Console(file=io.StringIO(), force_terminal=terminal.is_terminal, **options)


def _layers(layers: Sequence[Layer]) -> RenderableType:
    columns: dict[str, Callable[[Layer], str]] = {
        "layer": lambda layer: layer.name,
        "kind": lambda layer: layer.kind,
        "output": lambda layer: _shape(layer.output) or "not called",
        "parameters": lambda layer: f"{layer.parameters:,}" if layer.parameters else "",
        "output MB": lambda layer: _megabytes(layer.output_bytes),
        "kept MB": lambda layer: _megabytes(layer.kept_bytes),
        "field": lambda layer: (
            ("all" if layer.receptive_field is None else str(layer.receptive_field)) if layer.output else ""
        ),
        "MMACs": lambda layer: f"{layer.macs / 1e6:,.1f}" if layer.macs else "",
        "dense": lambda layer: _short(layer.dense_parameters),
        "local": lambda layer: _short(layer.local_parameters),
    }
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        left = name in ("layer", "kind")
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for layer in layers:
        table.add_row(*(Text(column(layer)) for column in columns.values()))
    return table


def _totals(description: Description) -> RenderableType:
    totals = description.totals
    image = "x".join(map(str, description.input))
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    rows = [
        ("parameters", f"{totals.parameters:,}", ""),
        ("trainable parameters", f"{totals.trainable_parameters:,}", ""),
        ("MACs", f"{totals.macs / 1e6:,.1f} M", "an image"),
        ("weights", _megabytes(totals.weight_bytes), "MB, buffers included"),
        ("output", _megabytes(totals.output_bytes), "MB an image, which is counted, too"),
        ("kept for backward", _megabytes(totals.kept_bytes), "MB an image"),
    ]
    for name, size in totals.training_bytes.items():
        rows.append((f"training, {_OPTIMIZERS[name]}", _megabytes(size), f"MB at batch_size={description.batch_size}"))
    for row in rows:
        table.add_row(*row)
    title = Text(f"{description.model} at {image}, {description.classes} classes", style="bold")
    return Group(Text(""), title, table, Text(""))


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.2f}" if size >= 5000 else "0.00" if size else ""


def _short(count: int | None) -> str:
    """A count to three digits, such as 23.1 M."""
    if count is None:
        return ""
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return str(count)
