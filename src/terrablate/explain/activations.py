"""Activation maps through the depth: what the stages of a network make of one image."""

import numpy as np
import torch

from terrablate.explain.findings import Figure, Findings
from terrablate.explain.layers import Output, reading, trace
from terrablate.explain.sheet import Cell, Row, Sheet, mosaic
from terrablate.explain.subject import Subject

_STAGES = 9
"""Shown; of more, evenly spaced ones with the first and the last."""


def stage_outputs(subject: Subject) -> list[tuple[str, Output]]:
    """The outputs of the stages before the head, at most nine of them, with their names."""
    with torch.inference_mode():
        found = trace(subject.network, subject.inputs_of(subject.sample[:2])).stage_outputs()
    kept = np.unique(np.linspace(0, len(found) - 1, min(_STAGES, len(found))).round().astype(int))
    return [found[index] for index in kept]


def activations(subject: Subject, channels: int, generator: np.random.Generator) -> Findings:
    """The maps of one right and of one wrong val image.

    Args:
        subject: what is explained.
        channels: shown of each stage: those that vary most over the image.
        generator: draws the right image.
    """
    outputs = stage_outputs(subject)
    if not outputs:
        return Findings(reasons=["Activation maps: the network is nothing but a head."])
    found = Findings()
    for kind, positions in (("right", subject.right_ones(1, generator)), ("wrong", subject.wrong_ones(1))):
        if not positions:
            found.reasons.append(f"Activation maps: there is no {kind} val image.")
            continue
        (position,) = positions
        title = f"Activation maps of a {kind}ly answered image"
        caption = (
            f"True: {subject.label(position)}; the network says: {subject.answer(position)}. A row a stage, from the"
            f" images on, with the {channels} channels whose map varies most; the brightness of a row has one scale."
            " Stages without places are shown as all their units in one picture."
        )
        sheet = _sheet(subject, outputs, position, channels, f"{title}: {subject.name}", caption)
        found.figures.append(Figure(f"activations_{kind}.png", title, caption, sheet.draw))
    return found


def maps_of(subject: Subject, outputs: list[tuple[str, Output]], position: int) -> list[torch.Tensor]:
    """What the stages give for one image: C,side,side each, on the CPU."""
    wanted = [output for _, output in outputs]
    with torch.inference_mode(), reading(subject.network, wanted) as found:
        subject.network(subject.inputs_of(np.array([position, position])))  # two, for what was traced with two
    return [found[output.call][0].float().cpu() for output in wanted]


def strongest(maps: torch.Tensor, count: int) -> list[int]:
    """The channels of C,side,side whose map varies most over the image, the most varying first."""
    spread = maps.flatten(1).std(dim=1, correction=0)
    return [int(channel) for channel in spread.argsort(descending=True, stable=True)[:count]]


def _sheet(
    subject: Subject, outputs: list[tuple[str, Output]], position: int, channels: int, title: str, caption: str
) -> Sheet:
    rows = [Row([Cell(subject.picture(position))], "image")]
    for (name, output), maps in zip(outputs, maps_of(subject, outputs, position), strict=True):
        side, count = maps.shape[-1], len(maps)
        if not output.is_map:
            units = maps.flatten().numpy()
            wide = int(np.ceil(len(units) ** 0.5))
            padded = np.full(wide * wide, np.nan)
            padded[: len(units)] = units
            picture = mosaic([padded.reshape(wide, wide)], 1)
            rows.append(Row([Cell(picture, "all units", _limits(units))], f"{name}\n{count} units"))
            continue
        chosen = strongest(maps, channels)
        limits = _limits(maps[chosen].numpy())
        cells = [Cell(maps[channel].numpy(), f"channel {channel}", limits) for channel in chosen]
        rows.append(Row(cells, f"{name}\n{count} channels of {side}x{side}"))
    return Sheet(title, rows, caption, side=1.0, names=1.25, lines_below=1, size=7)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 1, low + 1)
