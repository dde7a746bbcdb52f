"""SAT-6 as a source: val is drawn from train, each array is read once."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from terrablate.data.source import SPLITS, Sample, Split
from terrablate.data.splits import Integers, stratified_split
from terrablate.data.torchgeo_source import opened
from terrablate.errors import DataError

if TYPE_CHECKING:
    from terrablate.data.sat6_file import Sat6


class Sat6Split:
    """Some chips of one array; a sample is named after both, such as `train/000123`."""

    def __init__(self, dataset: "Sat6", rows: Integers, bands: list[int]) -> None:
        self._dataset = dataset
        self._rows = rows
        self._bands = bands
        self.ids: Sequence[str] = [f"{dataset.split}/{row:06d}" for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """One chip, bytes C,28,28."""
        row = self._rows[index]
        return {"image": self._dataset.images[row][self._bands], "label": int(self._dataset.labels[row])}


class Sat6Source:
    """SAT-6 airborne (Basu et al. 2015, doi:10.1145/2820783.2820816).

    An array is read when its first split is opened, shared by train and val, and given up with the source.

    Args:
        root: the folder of `sat-6-full.mat`.
        bands: names of the bands wanted, in the order wanted.
        val_fraction: the share of train that becomes val, stratified by class.
        split_seed: of that division.
        sha256: of the file, to be verified.

    Raises:
        DataError: if the file is not there.
    """

    def __init__(
        self, root: Path, *, bands: Sequence[str], val_fraction: float, split_seed: int, sha256: str | None
    ) -> None:
        from terrablate.data.sat6_file import Sat6

        if not (root / Sat6.filename).is_file():
            raise DataError(f"data.root: there is no file {root / Sat6.filename}; put SAT-6 there as it was published")
        self._root = root
        self._indices = [Sat6.all_bands.index(band) for band in bands]
        self._val_fraction = val_fraction
        self._split_seed = split_seed
        self._sha256 = sha256
        self._arrays: dict[str, Sat6] = {}
        self.bands = tuple(bands)
        self.classes = Sat6.classes

    def dataset(self, split: Split) -> Sat6Split:
        """Open a split. Raises `DataError` if the file is damaged or another one."""
        dataset = self._read("test" if split == "test" else "train")
        rows = np.arange(len(dataset))
        if split != "test":
            shares = (1 - self._val_fraction, self._val_fraction, 0.0)
            rows = np.flatnonzero(stratified_split(dataset.labels, shares, self._split_seed) == SPLITS.index(split))
        return Sat6Split(dataset, rows, self._indices)

    def _read(self, name: str) -> "Sat6":
        from terrablate.data.sat6_file import Sat6

        if name not in self._arrays:
            self._arrays[name] = opened(Sat6, "SAT-6", self._root, split=name, sha256=self._sha256)
        return self._arrays[name]
