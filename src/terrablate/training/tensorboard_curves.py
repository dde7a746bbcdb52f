"""`logger=tensorboard`: curves, pictures, hyperparameters and what the run comes to, as TensorBoard's event files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from terrablate.config.parse import plain
from terrablate.config.schema import Config
from terrablate.training.logged import curves, levels, summary
from terrablate.training.record import Row
from terrablate.training.wandb_curves import worst_images

FOLDER = "tensorboard"


class TensorBoardCurves:
    """One event file for one run, in the folder `tensorboard` of its record, also after it was cut off.

    A file cannot be cut to the epochs that a resumed run has: it is written anew, and the rows so far are replayed.

    Args:
        config: of the run.
        folder: of the record.
        rows: of the epochs before this session.
    """

    def __init__(self, config: Config, folder: Path, rows: Sequence[Row]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        place = folder / FOLDER
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(place))
        for row in rows:
            self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Log the row of an epoch, at the step of its number."""
        values = curves(row)
        step = int(values.pop("epoch"))
        for name, value in values.items():
            self._scalar(name, value, step)
        self._writer.flush()

    def finish(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        """Best and deployed values beside the hyperparameters; figures, errors and worst images; always closed."""
        if result is not None and result["status"] != "failed":
            self._summarise(result, folder)
        self._writer.close()

    def _summarise(self, result: Mapping[str, Any], folder: Path) -> None:
        step, found = int(result["epochs"]), summary(result)
        numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
        for name, value in numbers.items():
            self._scalar(f"summary/{name}", value, step)
        self._hyperparameters([f"summary/{name}" for name in numbers])
        words = "\n\n".join(f"**{name}**: {value}" for name, value in found.items() if isinstance(value, str))
        self._writer.add_text("summary", words, step)
        for name in ("curves", "augmentations"):
            if (folder / f"{name}.png").is_file():
                self._picture(f"pictures/{name}", folder / f"{name}.png", step)
        for number, (path, caption) in enumerate(worst_images(folder)):
            self._picture(f"errors/worst_{number:02}", path, step)
            self._writer.add_text(f"errors/worst_{number:02}", caption, step)
        if result["confusion"] is not None:
            self._image("errors/confusion", confusion_picture(result["confusion"], result["classes"]), step)

    def _hyperparameters(self, metrics: Sequence[str]) -> None:
        """Into the one file that is there; the writer's own method would open a second one."""
        from torch.utils.tensorboard.summary import hparams

        config = self._config
        told: dict[str, Any] = {"variant": config.study.member.variant or ""}
        told |= {f"levels.{factor}": level for factor, level in levels(config).items()}
        told |= {key: value for key, value in _flat(plain(config)).items() if not key.startswith(("study.", "logger."))}
        parts = hparams(told, dict.fromkeys(metrics, 0.0))  # type: ignore[no-untyped-call]
        for part in parts:
            self._writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]

    def _scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def _picture(self, name: str, path: Path, step: int) -> None:
        from PIL import Image

        with Image.open(path) as file:
            self._image(name, np.asarray(file.convert("RGB")), step)

    def _image(self, name: str, picture: npt.NDArray[np.uint8], step: int) -> None:
        self._writer.add_image(name, picture, step, dataformats="HWC")


def confusion_picture(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Rows of true classes as shares: H,W,3. Names and counts stand there as long as they can be read.

    Args:
        counts: K,K, a row a true class.
        classes: K names.
    """
    import io

    from matplotlib.figure import Figure
    from PIL import Image

    table = np.asarray(counts, dtype=np.float64)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    count = len(classes)
    side = float(np.clip(0.45 * count, 3, 12))
    figure = Figure(figsize=(side + 2, side + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title="val images by true and predicted class")
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in classes]
    size = 8 if count <= 40 else 4
    axes.xaxis.set_ticks(range(count), names, fontsize=size, parse_math=False, rotation=90)
    axes.yaxis.set_ticks(range(count), names, fontsize=size, parse_math=False)
    for row, column in np.argwhere(table > 0) if count <= 25 else ():
        color = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, f"{table[row, column]:.0f}", ha="center", va="center", fontsize=7, color=color)
    file: IO[bytes] = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | str | bool]:
    """The single values of nested dicts by dotted keys; those that say where things lie are left out."""
    found: dict[str, float | int | str | bool] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str) and not key.endswith(("_dir", "root")):
            found[f"{prefix}{key}"] = value
    return found
