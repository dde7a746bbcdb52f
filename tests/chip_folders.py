"""Small folders of chips that tests of the folder source write, and what they ask of the source."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image

from terrablate.data.folder import FolderSource
from terrablate.data.source import SPLITS, Split


def write_png(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (value, value + 1, value + 2)).save(path)


def write_tiff(path: Path, pixels: np.ndarray, **profile: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=pixels.dtype, **profile
    ) as tiff:
        tiff.write(pixels)


def write_classes(root: Path, count: int = 20, classes: tuple[str, ...] = ("forest", "water")) -> Path:
    for label, name in enumerate(classes):
        for number in range(count):
            write_png(root / name / f"{name}_{number:02}.png", 100 * label + number)
    return root


def write_list(path: Path, names: list[str]) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path


def ids(source: FolderSource, split: Split) -> list[str]:
    return list(source.dataset(split).ids)


def sizes(source: FolderSource) -> list[dict[int, int]]:
    return [dict(sorted(Counter(source.dataset(split).labels).items())) for split in SPLITS]


def sizes_of(source: FolderSource, split: Split) -> dict[int, int]:
    return dict(sorted(Counter(source.dataset(split).labels).items()))
