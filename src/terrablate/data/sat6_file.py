"""SAT-6 from its MATLAB file, as a dataset in torchgeo's style; torchgeo has none."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset
from torchgeo.datasets.utils import check_integrity

from terrablate.data.splits import Integers
from terrablate.errors import DataError

type Array = npt.NDArray[Any]


class Sat6(NonGeoDataset):  # type: ignore[misc]  # torchgeo is not followed by the type checker
    """SAT-6 airborne (Basu et al. 2015, doi:10.1145/2820783.2820816).

    405,000 chips of NAIP aerial images of California, 28 x 28 pixels of 1 m, red, green, blue and near infrared in
    bytes; 324,000 to train, 81,000 to test, six land-cover classes. The file `sat-6-full.mat` has `train_x`
    (28 x 28 x 4 x N, uint8), `train_y` (6 x N, one-hot), `test_x` and `test_y`; it may be of MATLAB 5 or 7.3.

    A split is read into memory as a whole: 1 GB to train.

    Args:
        root: the folder of the file.
        split: train or test.
        transforms: of a sample.
        sha256: of the file, to be verified; None to trust it.

    Raises:
        DatasetNotFoundError: if the file is not there.
        DataError: if it is another one, is damaged, or has other variables.
    """

    filename = "sat-6-full.mat"
    all_bands = ("red", "green", "blue", "nir")
    rgb_bands = ("red", "green", "blue")
    classes = ("building", "barren_land", "trees", "grassland", "road", "water")
    image_size = (28, 28)

    def __init__(
        self,
        root: str | Path = "data",
        split: Literal["train", "test"] = "train",
        transforms: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        sha256: str | None = None,
    ) -> None:
        self.root = root
        self.split = split
        self.transforms = transforms
        file = Path(root) / self.filename
        if not file.is_file():
            raise DatasetNotFoundError(self)
        if not check_integrity(file, sha256=sha256.lower() if sha256 else None):
            raise DataError(f"data.sha256={sha256}: {file} has another one; fetch it again, or correct the key")
        images, one_hot = _read(file, [f"{split}_x", f"{split}_y"])
        _check_shapes(file, split, images, one_hot)
        self.images: npt.NDArray[np.uint8] = images.transpose(3, 2, 0, 1)
        """N,4,28,28: a view, since MATLAB keeps the pixels of a chip together."""
        self.labels: Integers = one_hot.argmax(axis=0).astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image, float32 4,28,28 from 0 to 255, and label of a chip."""
        sample = {
            "image": torch.from_numpy(np.ascontiguousarray(self.images[index])).float(),
            "label": torch.tensor(self.labels[index]),
        }
        return sample if self.transforms is None else self.transforms(sample)

    def plot(self, sample: dict[str, Any], show_titles: bool = True, suptitle: str | None = None) -> Any:
        """A matplotlib figure of the red, green and blue of a sample, with its class and, if it has one, prediction."""
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(4, 4))
        axes.imshow(sample["image"][:3].permute(1, 2, 0).byte().numpy())
        axes.axis("off")
        if show_titles:
            title = f"Label: {self.classes[int(sample['label'])]}"
            if "prediction" in sample:
                title += f"\nPrediction: {self.classes[int(sample['prediction'])]}"
            axes.set_title(title)
        if suptitle is not None:
            figure.suptitle(suptitle)
        return figure


def _read(file: Path, names: list[str]) -> list[Array]:
    """Variables of a MATLAB file, with the axes in MATLAB's order.

    Raises:
        DataError: if the file is damaged, or lacks one of them.
    """
    import h5py
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        if h5py.is_hdf5(file):  # MATLAB 7.3 writes HDF5, in which the axes are the other way round
            with h5py.File(file, "r") as opened:
                found = {name: opened[name][()].T for name in names if name in opened}
        else:
            found = loadmat(file, variable_names=names)
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        NotImplementedError,
        MatReadError,
        zlib.error,
    ) as error:
        raise DataError(f"data.root: {file} cannot be read as a MATLAB file; fetch it again: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"data.root: {file} has no variable {missing[0]}; SAT-6 has train_x, train_y, test_x, test_y")
    return [found[name] for name in names]


def _check_shapes(file: Path, split: str, images: Array, one_hot: Array) -> None:
    """Raise `DataError` unless the images are 28,28,4,N bytes and the labels 6,N with one class each."""
    height, width = Sat6.image_size
    expected = (height, width, len(Sat6.all_bands))
    if images.ndim != 4 or images.shape[:3] != expected or images.dtype != np.uint8:
        raise DataError(
            f"data.root: {file} has {split}_x of shape {images.shape} and type {images.dtype}, SAT-6's is"
            f" {expected[0]},{expected[1]},{expected[2]},N of uint8"
        )
    count = images.shape[3]
    if one_hot.shape != (len(Sat6.classes), count):
        raise DataError(
            f"data.root: {file} has {split}_y of shape {one_hot.shape}, SAT-6's is {len(Sat6.classes)},{count}"
        )
    unclear = np.flatnonzero((one_hot != 0).sum(axis=0) != 1)
    if len(unclear):
        raise DataError(
            f"data.root: {file} has {len(unclear)} columns of {split}_y without one class, first column {unclear[0]}"
        )
