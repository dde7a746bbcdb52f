"""The pictures of a record: kept as numbers when its run ends, drawn when somebody has the time.

Drawing takes as long as the training of a small network, so a warm worker goes on with its next run meanwhile. What is
left undrawn when everything is killed, the next command that finds the run done draws. Imports no torch.
"""

import functools
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from terrablate.errors import Busy, UserError
from terrablate.training import figures
from terrablate.training.figures import Bytes
from terrablate.training.overfitting import Diagnosis, Evaluation
from terrablate.training.record import Record

logger = logging.getLogger(__name__)

FILE = ".pictures.npz"
"""What is still to be drawn; gone when it is."""


@dataclass(frozen=True)
class Pictures:
    """What the pictures of a record show."""

    title: str
    """Of the curves."""
    evaluations: Sequence[Evaluation]
    diagnosis: Diagnosis
    note: str
    floor: float | None
    """Val accuracy of the classical floor."""
    accuracy_name: str
    sheet_title: str
    """Of the sheet of augmentations."""
    originals: Bytes
    """n,H,W,3: training images."""
    views: Bytes
    """n,v,H,W,3: how training sees each of them."""
    worst: Bytes
    """k,H,W,3: val images, those that cost most first."""

    def keep(self, record: Record) -> None:
        """Write them down for `draw`.

        Raises:
            OSError: if the disk fails.
        """
        texts = {
            "title": self.title,
            "evaluations": [asdict(each) for each in self.evaluations],
            "diagnosis": asdict(self.diagnosis),
            "note": self.note,
            "floor": self.floor,
            "accuracy_name": self.accuracy_name,
            "sheet_title": self.sheet_title,
        }
        arrays: dict[str, Any] = {"originals": self.originals, "views": self.views, "worst": self.worst}
        record.write(FILE, lambda file: np.savez(file, texts=np.array(json.dumps(texts)), **arrays))

    @classmethod
    def kept(cls, path: Path) -> Self:
        """Read them back.

        Raises:
            OSError: if the file cannot be read.
            ValueError: or KeyError, TypeError, zipfile.BadZipFile, if it is damaged.
        """
        with np.load(path) as arrays:
            texts = json.loads(str(arrays["texts"]))
            texts["evaluations"] = [Evaluation(**each) for each in texts["evaluations"]]
            texts["diagnosis"] = Diagnosis(**texts["diagnosis"])
            return cls(**texts, **{name: arrays[name] for name in ("originals", "views", "worst")})

    def draw(self, record: Record) -> None:
        """Write `curves.png`, `augmentations.png` and `worst/00.png` on.

        Raises:
            OSError: if the disk fails.
        """
        record.write(
            "curves.png",
            lambda file: figures.draw_curves(
                file, self.title, self.evaluations, self.diagnosis, self.note, self.floor, self.accuracy_name
            ),
        )
        record.write(
            "augmentations.png",
            lambda file: figures.draw_augmentations(file, self.sheet_title, self.originals, self.views),
        )
        for rank, picture in enumerate(self.worst):
            record.write(worst_name(rank), functools.partial(figures.thumbnail, picture=picture))


def worst_name(rank: int) -> str:
    """Name in the record of a val image by its rank, from 0 for the one of the highest NLL."""
    return f"worst/{rank:02}.png"


def draw(record: Record) -> None:
    """Draw what a record has kept, if anything; the caller holds its claim.

    What goes wrong is logged: a finished run stays finished without pictures.
    """
    path = record.folder / FILE
    if not path.is_file():
        return
    try:
        pictures = Pictures.kept(path)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s); the run has no pictures", path, error)
        path.unlink(missing_ok=True)
        return
    try:
        pictures.draw(record)
        path.unlink(missing_ok=True)
    except Exception as error:  # Matplotlib fails in many ways, and nothing waits for a picture
        logger.warning("%s: pictures cannot be drawn (%s); the same command draws them", record.folder, error)


def draw_of(folder: Path) -> None:
    """Draw what the record in a folder has kept, if anything, unless another process holds it."""
    if not (folder / FILE).is_file():
        return
    record = Record(folder)
    try:
        with record.claim():
            draw(record)
    except Busy:  # who holds it draws
        return
    except UserError as error:
        logger.warning("%s", error)
