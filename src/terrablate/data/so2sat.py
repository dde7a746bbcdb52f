"""So2Sat LCZ42 through torchgeo's class: HDF5 files, one a split, of Sentinel-1 and Sentinel-2 chips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from terrablate.data.source import SPLITS, Sample, Split
from terrablate.data.splits import Integers, stratified_split
from terrablate.errors import DataError

S1_BANDS = tuple(f"S1_B{number}" for number in range(1, 9))
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
BANDS = S1_BANDS + S2_BANDS

_SIDE = 32


class So2SatSplit:
    """Some rows of one file; a sample is named after both, such as `training/000123`."""

    def __init__(self, dataset: Any, labels: Integers, rows: Integers, order: list[int]) -> None:
        self._dataset = dataset
        self._labels = labels
        self._rows = rows
        self._order = order
        name = Path(dataset.fn).stem
        self.ids: Sequence[str] = [f"{name}/{row:06d}" for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read one chip, float32 C,32,32."""
        row = int(self._rows[index])
        image = self._dataset[row]["image"].numpy()
        return {"image": image[self._order], "label": int(self._labels[row])}


class So2SatSource:
    """So2Sat LCZ42 (Zhu et al. 2020, doi:10.1109/MGRS.2020.2964708): 17 local climate zones.

    The numbers are physical already: reflectance from 0 to about 1 for Sentinel-2, linear backscatter for Sentinel-1.
    The bands of Sentinel-2 have the names that they have everywhere, `B02` for torchgeo's `S2_B02`, so that weights
    and other data sets know them as the same.

    Args:
        root: the folder with `training.h5` and its like, in a folder of the version where torchgeo expects one.
        version: 2, which has train, val and test, or one of the versions 3, which have train and test.
        bands: names of the bands wanted, in the order wanted.
        val_fraction: the share of train that becomes val, for the versions 3.
        split_seed: of that division, which is stratified by class.
        checksum: let torchgeo compare each file with its published MD5, when a split of it is first opened.

    Raises:
        DataError: if the training file is not there.
    """

    def __init__(
        self,
        root: Path,
        *,
        version: int | str,
        bands: Sequence[str],
        val_fraction: float | None,
        split_seed: int,
        checksum: bool,
    ) -> None:
        from torchgeo.datasets import So2Sat

        self._root = root
        self._options: dict[str, Any] = {
            "version": str(version),
            "bands": tuple(_torchgeo_name(band) for band in bands),
            "checksum": checksum,
        }
        self._files: dict[str, str] = So2Sat.filenames_by_version[str(version)]
        self._val_fraction = val_fraction
        self._split_seed = split_seed
        self._opened: dict[str, tuple[Any, Integers]] = {}
        self.bands = tuple(bands)
        self.classes: tuple[str, ...] = tuple(So2Sat.classes)
        self._file("train")  # raises

    def dataset(self, split: Split) -> So2SatSplit:
        """Open a split.

        Raises:
            DataError: if its file is missing, damaged, laid out in another way, or not the published one.
        """
        drawn = split != "test" and self._val_fraction is not None
        dataset, labels = self._open("train" if drawn else {"val": "validation"}.get(split, split))
        rows = np.arange(len(labels))
        if drawn and self._val_fraction is not None:
            shares = (1 - self._val_fraction, self._val_fraction, 0.0)
            rows = np.flatnonzero(stratified_split(labels, shares, self._split_seed) == SPLITS.index(split))
        # Torchgeo puts Sentinel-1 first, and keeps within each sensor the order that was asked for.
        given = [*dataset.s1_band_names, *dataset.s2_band_names]
        return So2SatSplit(dataset, labels, rows, [given.index(_torchgeo_name(band)) for band in self.bands])

    def _file(self, name: str) -> Path:
        file = self._root / self._files[name]
        if not file.is_file():
            raise DataError(
                f"data.root: there is no file {file}; put the files of data.version={self._options['version']} of"
                " So2Sat there as torchgeo lays them out"
            )
        return file

    def _open(self, name: str) -> tuple[Any, Integers]:
        """The dataset of a file, with its labels N; opened and verified once, since that may take minutes."""
        from torchgeo.datasets import DatasetNotFoundError, So2Sat

        if name not in self._opened:
            file = self._file(name)
            labels = _read_labels(file, len(self.classes))
            try:
                dataset = So2Sat(str(self._root), split=name, **self._options)
            except DatasetNotFoundError as error:  # it is there, so its MD5 is another
                raise DataError(
                    f"data.root: {file} is not the file that was published, its MD5 differs; fetch it again, or trust"
                    " it with data.checksum=false"
                ) from error
            self._opened[name] = dataset, labels
        return self._opened[name]


def _torchgeo_name(band: str) -> str:
    return band if band in S1_BANDS else f"S2_{band}"


def _read_labels(file: Path, classes: int) -> Integers:
    """Labels N of a file, whose layout is checked.

    Raises:
        DataError: if the file is truncated, lacks one of its arrays, or has another shape than it should.
    """
    import h5py

    try:
        with h5py.File(file, "r") as opened_file:
            missing = [name for name in ("sen1", "sen2", "label") if name not in opened_file]
            if missing:
                raise DataError(f"data.root: {file} has no array {missing[0]}; So2Sat has sen1, sen2 and label")
            shapes = {name: tuple(opened_file[name].shape) for name in ("sen1", "sen2", "label")}
            count = shapes["label"][0]
            expected = {
                "sen1": (count, _SIDE, _SIDE, len(S1_BANDS)),
                "sen2": (count, _SIDE, _SIDE, len(S2_BANDS)),
                "label": (count, classes),
            }
            wrong = [name for name in shapes if shapes[name] != expected[name]]
            if wrong:
                raise DataError(
                    f"data.root: {file} has the array {wrong[0]} of shape {shapes[wrong[0]]}, So2Sat's is"
                    f" {expected[wrong[0]]}"
                )
            one_hot = opened_file["label"][()]
    except OSError as error:
        raise DataError(f"data.root: {file} cannot be read as HDF5: {error}") from error
    unclear = np.flatnonzero((one_hot != 0).sum(axis=1) != 1)
    if len(unclear):
        raise DataError(f"data.root: {file} has {len(unclear)} rows of label without one class, first row {unclear[0]}")
    return one_hot.argmax(axis=1).astype(np.int64)
