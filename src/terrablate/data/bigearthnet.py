"""BigEarthNet through torchgeo's class: several labels an image, bands read by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.enums import Resampling
from torchgeo.datasets import BigEarthNet

from terrablate.data.source import Sample, Split
from terrablate.data.torchgeo_source import opened
from terrablate.errors import DataError

S1_BANDS = ("VH", "VV")
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
BANDS = S1_BANDS + S2_BANDS


class _BandsByName(BigEarthNet):  # type: ignore[misc]  # torchgeo is not followed by the type checker
    """Torchgeo's class, reading the files of the bands that are asked for and no others.

    Torchgeo itself reads whatever files lie in a folder, so that one that is missing would shift all bands after it,
    calls VV, VH what it reads as VH, VV, and cuts the decibels of Sentinel-1 to whole numbers. Sentinel-2 has the
    values that torchgeo gives.

    Args:
        wanted: names of the bands, in the order wanted.
        options: of torchgeo's class.
    """

    def __init__(self, *, wanted: Sequence[str], **options: Any) -> None:
        self._wanted = tuple(wanted)
        super().__init__(bands=_sensors(wanted), **options)

    def _load_image(self, index: int) -> torch.Tensor:
        """One patch C,120,120: int32, or float32 where it has a band of Sentinel-1."""
        arrays = []
        for band in self._wanted:
            folder = Path(self.folders[index]["s1" if band in S1_BANDS else "s2"])
            with rasterio.open(folder / f"{folder.name}_{band}.tif") as file:
                dtype = "float32" if band in S1_BANDS else "int32"
                arrays.append(
                    file.read(indexes=1, out_shape=self.image_size, out_dtype=dtype, resampling=Resampling.bilinear)
                )
        return torch.from_numpy(np.stack(arrays, dtype=np.int32 if self.bands == "s2" else np.float32))


class BigEarthNetSplit:
    """The patches of one split, in the order of its list."""

    def __init__(self, dataset: _BandsByName, root: Path) -> None:
        self._dataset = dataset
        sensor = "s1" if dataset.bands == "s1" else "s2"
        self.ids: Sequence[str] = [Path(pair[sensor]).relative_to(root).as_posix() for pair in dataset.folders]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Read one patch.

        Raises:
            OSError: if the file of a band is missing or damaged.
            DataError: if its labels are missing, or unknown.
        """
        try:
            sample = self._dataset[index]
        except (LookupError, TypeError) as error:
            raise DataError(f"its folder has no JSON file with labels of BigEarthNet ({error})") from error
        return {"image": sample["image"].numpy(), "label": sample["label"].numpy().astype(np.uint8)}


class BigEarthNetSource:
    """BigEarthNet 1.0 (Sumbul et al. 2019, doi:10.1109/IGARSS.2019.8900532), with its official splits.

    A label is a vector K of zeros and ones.

    Args:
        root: the folder in which torchgeo looks for `BigEarthNet-v1.0`, `BigEarthNet-S1-v1.0` (where a band of
            Sentinel-1 is wanted) and the three lists.
        bands: names of the bands wanted, in the order wanted.
        num_classes: 19 or 43.
        download: let torchgeo fetch what is missing.
        checksum: let torchgeo verify what it fetched.

    Raises:
        DataError: if the data are not there, or broken.
    """

    def __init__(self, root: Path, *, bands: Sequence[str], num_classes: int, download: bool, checksum: bool) -> None:
        self._root = root
        self._options = {
            "wanted": tuple(bands), "num_classes": num_classes, "download": download, "checksum": checksum,
        }  # fmt: skip
        self.bands = tuple(bands)
        self.classes = tuple(BigEarthNet.class_sets[num_classes])
        self.dataset("train")  # raises

    def dataset(self, split: Split) -> BigEarthNetSplit:
        """Open a split. Raises `DataError` if its list is missing or broken."""
        return BigEarthNetSplit(
            opened(_BandsByName, "BigEarthNet", self._root, split=split, **self._options), self._root
        )


def _sensors(bands: Sequence[str]) -> str:
    """What torchgeo calls the sensors of these bands."""
    if set(bands) <= set(S2_BANDS):
        return "s2"
    return "s1" if set(bands) <= set(S1_BANDS) else "all"
