"""Small packs of chips whose classes differ in the brightness of one band, and the classical floor of such a pack."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from terrablate.data.pack import Pack
from terrablate.training.floor import classical_floor

type Labels = list[int] | np.ndarray[Any, Any]


def chips(labels: Labels, seed: int = 0) -> np.ndarray[Any, Any]:
    """N,3,6,6: noise, but that the second band is brighter the higher the label."""
    images = np.random.default_rng(seed).integers(0, 60, (len(labels), 3, 6, 6))
    images[:, 1] += 40 * np.asarray(labels)[:, None, None]
    return images.astype(np.uint8)


def packed(folder: Path, train: Labels, val: Labels, classes: int = 2, shown: Labels | None = None) -> SimpleNamespace:
    """What the floor asks of a data module; the images are of the classes `shown`, if these are not their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, labels, drawn in (("train", train, train if shown is None else shown), ("val", val, val)):
        np.save(folder / f"{split}_images.npy", chips(drawn, seed=len(split)))
        np.save(folder / f"{split}_labels.npy", np.asarray(labels, dtype=np.int64))
    meta = {"classes": [f"class{label}" for label in range(classes)], "fingerprint": "f"}
    return SimpleNamespace(
        pack=Pack(folder, meta),
        given_labels=np.asarray(train, dtype=np.int64),
        train_indices=np.arange(len(train)),
        val_indices=np.arange(len(val)),
    )


def floor_of(data: SimpleNamespace, threads: int = 1) -> dict[str, Any]:
    return classical_floor(data, threads)  # type: ignore[arg-type]


def alternating(count: int) -> np.ndarray[Any, Any]:
    """Labels 0, 1, 0, 1, ..."""
    return np.arange(count) % 2
