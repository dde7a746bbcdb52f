"""Datasets of torchgeo: its classes, its downloads and checksums, its split lists."""

import logging
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.data.source import SPLITS, Sample, Split
from terrablate.errors import DataError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torchgeo.datasets.geo import NonGeoClassificationDataset


class TorchgeoSplit:
    """One split of a torchgeo classification dataset whose samples are image files."""

    def __init__(self, dataset: "NonGeoClassificationDataset", root: Path, bands: list[int] | None) -> None:
        self._dataset = dataset
        self._bands = bands
        self.ids: Sequence[str] = [Path(path).relative_to(root).as_posix() for path, _ in dataset.samples]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self._dataset[index]
        image = sample["image"].numpy()
        return {"image": image if self._bands is None else image[self._bands], "label": int(sample["label"])}


class TorchgeoSource:
    """A class of `torchgeo.datasets`.

    Args:
        dataset: its name, such as `EuroSAT`.
        root: the folder of this dataset, as torchgeo expects it.
        band_names: names of all bands that the dataset has, in its order.
        bands: names of the bands wanted, in the order wanted.
        download: let torchgeo fetch what is missing.
        checksum: let torchgeo verify what it fetched.

    Raises:
        DataError: if the data are not there, or broken.
    """

    def __init__(
        self,
        dataset: str,
        root: Path,
        *,
        band_names: Sequence[str],
        bands: Sequence[str],
        download: bool,
        checksum: bool,
    ) -> None:
        import torchgeo.datasets

        self._class = getattr(torchgeo.datasets, dataset)
        self._root = root
        self._options: dict[str, Any] = {"download": download, "checksum": checksum}
        self._indices: list[int] | None = None
        if hasattr(self._class, "all_band_names"):
            self._options["bands"] = tuple(bands)  # the class selects by name
        elif list(bands) != list(band_names):
            self._indices = [list(band_names).index(band) for band in bands]
        self.bands = tuple(bands)
        self.classes = tuple(self._open("train").classes)
        if download:
            for split in SPLITS:  # fetch all lists now: a file that comes later would make the folder look changed
                self._open(split)

    def dataset(self, split: Split) -> TorchgeoSplit:
        """Open a split by the dataset's own list."""
        opened = self._open(split)
        if tuple(opened.classes) != self.classes:
            raise DataError(f"{self._root}: the {split} split has other classes than the train split")
        self._warn_of_missing(split, len(opened))
        return TorchgeoSplit(opened, self._root, self._indices)

    def _warn_of_missing(self, split: Split, found: int) -> None:
        """Torchgeo passes over listed images that are not there, as in an archive that was half unpacked."""
        names = getattr(self._class, "split_filenames", {})
        if split in names:
            listed = sum(bool(line.strip()) for line in (self._root / names[split]).read_text().splitlines())
            if found < listed:
                logger.warning("%s: %d of the %d images of the %s split are there", self._root, found, listed, split)

    def _open(self, split: Split) -> "NonGeoClassificationDataset":
        return opened(self._class, self._class.__name__, self._root, split=split, **self._options)


def opened[T](kind: Callable[..., T], title: str, root: Path, **options: Any) -> T:
    """Open a dataset class of torchgeo, or of its style.

    Args:
        kind: the class.
        title: what it is called in errors.
        root: the folder of the dataset.
        options: of the class; `download` among them if it can.

    Raises:
        DataError: if the data are not there, or broken.
    """
    from torchgeo.datasets import DatasetNotFoundError

    try:
        return kind(root=str(root), **options)
    except DatasetNotFoundError as error:
        fetched = ", or let torchgeo fetch it with data.download=true" if "download" in options else ""
        raise DataError(
            f"data.root: {title} is not complete in {root}; put it there as torchgeo lays it out{fetched}"
        ) from error
    except (OSError, RuntimeError, ValueError, LookupError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"data.root: {title} in {root} cannot be opened: {error}") from error
