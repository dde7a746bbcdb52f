"""PatternNet through torchgeo's class, which has no splits: they are drawn here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from terrablate.data.source import SPLITS, Sample, Split
from terrablate.data.splits import Integers, stratified_split
from terrablate.data.torchgeo_source import opened
from terrablate.errors import DataError

if TYPE_CHECKING:
    from torchgeo.datasets import PatternNet

BANDS = ("red", "green", "blue")


class PatternNetSplit:
    """The images of one split, in the order of their paths."""

    def __init__(self, dataset: "PatternNet", rows: Integers, root: Path, bands: list[int]) -> None:
        self._dataset = dataset
        self._rows = rows
        self._bands = bands
        self.ids: Sequence[str] = [Path(dataset.samples[row][0]).relative_to(root).as_posix() for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read one image, as bytes."""
        sample = self._dataset[int(self._rows[index])]
        image = sample["image"].numpy().astype(np.uint8)  # torchgeo turns bytes into float
        return {"image": image[self._bands], "label": int(sample["label"])}


class PatternNetSource:
    """PatternNet (Zhou et al. 2018, doi:10.1016/j.isprsjprs.2018.01.004).

    The splits are stratified and drawn by a seed, as those of a folder of images.

    Args:
        root: the folder in which torchgeo looks for `PatternNet/images/<class>/*.jpg`.
        bands: names of the bands wanted, in the order wanted.
        fractions: shares of train, val and test.
        split_seed: of the splits.
        download: let torchgeo fetch what is missing.
        checksum: let torchgeo verify what it fetched.

    Raises:
        DataError: if the data are not there, or broken.
    """

    def __init__(
        self,
        root: Path,
        *,
        bands: Sequence[str],
        fractions: Sequence[float],
        split_seed: int,
        download: bool,
        checksum: bool,
    ) -> None:
        from torchgeo.datasets import PatternNet

        self._root = root
        self._dataset = opened(PatternNet, "PatternNet", root, download=download, checksum=checksum)
        self._indices = [BANDS.index(band) for band in bands]
        self.bands = tuple(bands)
        self.classes = tuple(self._dataset.classes)
        labels = np.asarray(self._dataset.targets, dtype=np.int64)
        self._split_of = stratified_split(labels, fractions, split_seed)

    def dataset(self, split: Split) -> PatternNetSplit:
        """Open a split. Raises `DataError` if it is empty."""
        rows = np.flatnonzero(self._split_of == SPLITS.index(split))
        if not len(rows):
            raise DataError(f"{self._root}: no image of PatternNet is in the {split} split; raise its data.fractions")
        return PatternNetSplit(self._dataset, rows, self._root, self._indices)
