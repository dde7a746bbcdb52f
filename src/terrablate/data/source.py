"""The contract of a data source: where images, labels, bands and splits come from, before they are packed."""

from collections.abc import Sequence
from typing import Literal, NotRequired, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

type Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Sample(TypedDict):
    """One chip as torchgeo's datasets give it."""

    image: npt.NDArray[np.generic]
    """C,H,W in the sensor's own numbers (digital numbers or bytes), bands in the order of `Source.bands`."""
    label: int | npt.NDArray[np.uint8]
    """A class, as an index into `Source.classes`; for several labels an image K zeros and ones, 1 for each it shows."""
    filled: NotRequired[int]
    """How many of its values were nodata, NaN or infinite and were filled in."""


class SplitDataset(Protocol):
    """The samples of one split, in a fixed order."""

    @property
    def ids(self) -> Sequence[str]:
        """A stable name of every sample: its path below the source's root, or its number for generated data."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read one sample. Raises `OSError`, `ValueError` or `DataError` if the image cannot be read."""
        ...


class Source(Protocol):
    """Where the data comes from."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that the samples have, in order: those that were asked for."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        ...

    def dataset(self, split: Split) -> SplitDataset:
        """Open a split. Raises `DataError` if it does not exist."""
        ...
