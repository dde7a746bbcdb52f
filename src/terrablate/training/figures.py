"""Pictures of the record: curves, augmented training images, the worst val images."""

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from terrablate.training.overfitting import Diagnosis, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VAL, PROBE = "#0072B2", "#D55E00"
"""Blue and vermilion of Okabe and Ito: told apart without colour vision, and by line style, too."""

_SHEET_PICTURE, _SHEET_MARGIN, _SHEET_HEAD = 128, 8, 50
"""Pixels: a picture's side, about; what is left free beside all, and above them for the names."""

type Picture = npt.NDArray[np.float32]
type Bytes = npt.NDArray[np.uint8]


def draw_curves(
    file: IO[bytes],
    title: str,
    evaluations: Sequence[Evaluation],
    diagnosis: Diagnosis,
    note: str = "",
    floor: float | None = None,
    accuracy_name: str = "accuracy",
) -> None:
    """Val and probe NLL and accuracy against the epoch, as a PNG.

    The gap is shaded; best epoch, onset and the accuracy of the classical floor are marked. `accuracy_name` is what
    `accuracy` is called for these labels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4.4))
    loss, accuracy = figure.subplots(1, 2)
    epochs = [each.epoch for each in evaluations]
    _pair(loss, epochs, [each.nll_val for each in evaluations], [each.nll_probe for each in evaluations])
    loss.set(xlabel="epoch", ylabel="NLL (nats)", title="loss")
    _pair(accuracy, epochs, [each.accuracy_val for each in evaluations], [each.accuracy_probe for each in evaluations])
    accuracy.set(xlabel="epoch", ylabel=accuracy_name, title=accuracy_name, ylim=(0, 1.02))
    if floor is not None:
        accuracy.axhline(floor, color="0.15", linestyle="-.", linewidth=1.2, label="classical floor")
    for axes in (loss, accuracy):
        if diagnosis.best_epoch is not None:
            axes.axvline(diagnosis.best_epoch, color="0.45", linestyle=":", linewidth=1.2, label="best epoch")
        if diagnosis.onset_epoch is not None:
            axes.axvspan(diagnosis.onset_epoch, epochs[-1], color="0.5", alpha=0.10, linewidth=0, label="after onset")
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, names = accuracy.get_legend_handles_labels()  # has all that the loss has, and the floor
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False)
    lines = [title, *_wrap(diagnosis.sentence), *([note] if note else [])]
    figure.suptitle("\n".join(lines), fontsize=10, y=0.985, va="top")
    # a layout of matplotlib's that looks for the room itself takes longer than drawing
    figure.subplots_adjust(left=0.065, right=0.985, bottom=0.2, top=0.9 - 0.042 * len(lines), wspace=0.16)
    figure.savefig(file, format="png", dpi=130, pil_kwargs={"compress_level": 1})


def _pair(axes: "Axes", epochs: Sequence[int], val: Sequence[float], probe: Sequence[float]) -> None:
    marker = "o" if len(epochs) <= 60 else None
    axes.plot(epochs, val, color=VAL, marker=marker, markersize=3, label="val")
    axes.plot(epochs, probe, color=PROBE, linestyle="--", marker=marker, markersize=3, label="probe (train)")
    axes.fill_between(epochs, probe, val, color=VAL, alpha=0.12, linewidth=0, label="gap")


def _wrap(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 110)


def draw_augmentations(file: IO[bytes], title: str, originals: Bytes, views: Bytes) -> None:
    """A row an image: as it is, then as training sees it.

    Pillow draws it: with a figure of matplotlib's, this took longer than the training of a small run.

    Args:
        file: gets a PNG.
        title: above all.
        originals: n,H,W,3.
        views: n,v,H,W,3: v pictures of each original.
    """
    from PIL import Image, ImageDraw, ImageFont

    cells = np.concatenate([originals[:, None], views], axis=1)
    count, across, height, width, _ = cells.shape
    factor = _SHEET_PICTURE / width
    factor = round(factor) if factor > 1 else factor
    gap = max(1, round(0.04 * width))
    mosaic = np.full((count, height + gap, across, width + gap, 3), 255, dtype=np.uint8)
    mosaic[:, :height, :, :width] = cells.transpose(0, 2, 1, 3, 4)
    pictures = Image.fromarray(mosaic.reshape(count * (height + gap), across * (width + gap), 3))
    resample = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    pictures = pictures.resize((round(pictures.width * factor), round(pictures.height * factor)), resample)
    sheet = Image.new("RGB", (pictures.width + _SHEET_MARGIN, pictures.height + _SHEET_HEAD), "white")
    sheet.paste(pictures, (_SHEET_MARGIN, _SHEET_HEAD))
    draw = ImageDraw.Draw(sheet)
    draw.text((sheet.width / 2, 14), title, fill="black", font=ImageFont.load_default(15), anchor="mm")
    for column in range(across):
        middle = _SHEET_MARGIN + factor * (column * (width + gap) + width / 2)
        name = f"view {column}" if column else "image"
        draw.text((middle, 38), name, fill="black", font=ImageFont.load_default(13), anchor="mm")
    sheet.save(file, format="PNG", compress_level=1)


def thumbnail(file: IO[bytes], picture: Bytes, size: int = 128) -> None:
    """Write a picture, H,W,3, as a PNG of about `size` pixels, enlarged without smoothing."""
    from PIL import Image

    image = Image.fromarray(picture)
    factor = max(1, round(size / max(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.save(file, format="PNG", compress_level=1)


def as_bytes(picture: Picture) -> Bytes:
    """Pictures of any form in [0, 1] as bytes."""
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


class TrueColor:
    """Shows chips of any bands as pictures: red, green and blue where they are known, else the first band or three.

    All channels share one stretch, from the 2nd to the 98th percentile of some images, so that colours stay natural.

    Args:
        bands: names of the channels.
        rgb: names of the red, green and blue band, if any.
        sample: N,C,H,W on the scale of what will be shown.
    """

    def __init__(self, bands: Sequence[str], rgb: Sequence[str] | None, sample: npt.NDArray[Any]) -> None:
        names = list(bands)
        if rgb and set(rgb) <= set(names):
            self.channels = [names.index(band) for band in rgb]
        else:
            self.channels = [0, 1, 2] if len(names) >= 3 else [0, 0, 0]
        low, high = np.percentile(sample[:, self.channels].astype(np.float64), [2, 98])
        self._low, self._width = low, max(high - low, 1e-12)

    def __call__(self, image: npt.NDArray[Any]) -> Picture:
        """C,H,W to H,W,3 in [0, 1]."""
        chosen = image[self.channels].transpose(1, 2, 0)
        return np.clip((chosen - self._low) / self._width, 0, 1).astype(np.float32)
