"""Images that excite a channel most: what the channels of each stage stand for (after Zeiler and Fergus 2014)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from terrablate.explain.activations import stage_outputs
from terrablate.explain.findings import Figure, Findings
from terrablate.explain.layers import Output, reading
from terrablate.explain.sheet import Cell, Row, Sheet
from terrablate.explain.subject import Positions, Subject

_TOP = 9


@dataclass(frozen=True)
class Peaks:
    """The largest activation of each channel in each image."""

    values: npt.NDArray[np.float32]
    """N,C"""
    places: npt.NDArray[np.int32]
    """N,C: where it is, row by row."""
    side: int
    """Places along a side of the map; 1 where there are none."""

    def channels(self, count: int) -> list[int]:
        """Those whose largest activation varies most between images, the most varying first."""
        spread = self.values.var(axis=0)
        return [int(channel) for channel in np.argsort(-spread, kind="stable")[:count]]

    def images(self, channel: int, count: int = _TOP) -> list[int]:
        """Rows of the images in which a channel is largest, the largest first."""
        return [int(row) for row in np.argsort(-self.values[:, channel], kind="stable")[:count]]


def channels(subject: Subject, count: int) -> Findings:
    """A sheet a stage: the nine val images that excite each of a few channels most.

    Args:
        subject: what is explained.
        count: channels of a stage: those whose largest activation varies most between the images.
    """
    outputs = stage_outputs(subject)
    if not outputs:
        return Findings(reasons=["Channels: the network is nothing but a head."])
    found = Findings()
    peaks = peaks_of(subject, outputs, subject.sample)
    for number, ((name, output), peak) in enumerate(zip(outputs, peaks, strict=True), 1):
        title = f"Images that excite channels of {name} most"
        unit = "channel" if output.is_map else "unit"
        caption = (
            f"Stage {name}: a row a {unit}, those whose largest activation varies most between {len(subject.sample)}"
            f" val images, with the nine images in which it is largest, the largest first. Below: the true class."
            + (
                f" The square is the place of the maximum in its map of {peak.side}x{peak.side}."
                if peak.side > 1
                else ""
            )
        )
        sheet = _sheet(subject, peak, unit, count, f"{title}: {subject.name}", caption)
        found.figures.append(Figure(f"channels_{number}.png", title, caption, sheet.draw))
    return found


def peaks_of(subject: Subject, outputs: list[tuple[str, Output]], positions: Positions) -> list[Peaks]:
    """The largest activations of the outputs of stages in the images at these positions."""
    wanted = [output for _, output in outputs]
    values: list[list[torch.Tensor]] = [[] for _ in wanted]
    places: list[list[torch.Tensor]] = [[] for _ in wanted]
    with torch.inference_mode(), reading(subject.network, wanted) as found:
        for images in subject.batches(positions):
            subject.network(images)
            for index, output in enumerate(wanted):
                peak = found[output.call].float().flatten(2).max(dim=2)
                values[index].append(peak.values.cpu())
                places[index].append(peak.indices.to("cpu", torch.int32))
    return [
        Peaks(torch.cat(values[index]).numpy(), torch.cat(places[index]).numpy(), output.form.side)
        for index, output in enumerate(wanted)
    ]


def _sheet(subject: Subject, peaks: Peaks, unit: str, count: int, title: str, caption: str) -> Sheet:
    rows = []
    for channel in peaks.channels(count):
        cells = []
        for row in peaks.images(channel):
            position = int(subject.sample[row])
            place = divmod(int(peaks.places[row, channel]), peaks.side)
            middle = tuple((part + 0.5) / peaks.side for part in place)
            mark = (middle[0], middle[1], 1 / peaks.side) if peaks.side > 1 else None
            below = f"{subject.label(position)}\n{peaks.values[row, channel]:.3g}"
            cells.append(Cell(subject.picture(position), below, mark=mark))
        rows.append(Row(cells, f"{unit} {channel}"))
    return Sheet(title, rows, caption, side=0.95, names=0.85, lines_below=2, size=7)
