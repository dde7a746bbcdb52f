"""A source that reads a person's own images: one folder a class, with given or computed splits."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from terrablate.data import splits
from terrablate.data.folder_listing import FoundImage, find_images, read_group_csv, read_split_lists
from terrablate.data.image_files import ImageHeader, probe_image, read_geolocation, read_image
from terrablate.data.source import SPLITS, Sample, Split
from terrablate.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

type SplitBy = Literal["sample", "group", "block"]


@dataclass(slots=True)
class FolderDataset:
    """The images of one split, sorted by id; may be pickled to worker processes."""

    root: Path
    ids: Sequence[str]
    """POSIX paths below the root."""
    labels: Sequence[int]
    band_numbers: Sequence[int]
    """Positions in the file of the bands that a sample has."""
    file_bands: int
    """How many bands every file must have."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            DataError: If the image cannot be read, has a band without a valid pixel, or another number of bands.
        """
        path = self.root / self.ids[index]
        content = read_image(path, select=self.band_numbers, expected_bands=self.file_bands)
        return {"image": content.pixels, "label": self.labels[index], "filled": content.filled}


class FolderSource:
    """A person's own images.

    The root holds `<class>/<images>` or `{train,val,test}/<class>/<images>`; images may lie deeper below their
    class. Splits come from those folders, or from `split_lists`, or are computed; where val is not given, it is cut
    from train, stratified, in the proportion of its fraction to both. Classes are the sorted folder names.
    """

    bands: tuple[str, ...]
    classes: tuple[str, ...]

    def __init__(
        self,
        root: Path,
        *,
        bands: Sequence[str] | Literal["all", "rgb"] = "all",
        band_names: Sequence[str] | None = None,
        rgb: Sequence[str] | None = None,
        split_lists: Mapping[Split, Path] | None = None,
        fractions: Sequence[float] = splits.DEFAULT_FRACTIONS,
        split_by: SplitBy = "sample",
        group_pattern: str | None = None,
        group_csv: Path | None = None,
        block_size: float | None = None,
        fold: int | None = None,
        folds: int | None = None,
        split_seed: int = 0,
    ) -> None:
        """List the files, read the first one's header, and divide the samples.

        Args:
            root: The folder with the images.
            bands: Names of the bands to read, in the order wanted; "all", or "rgb" for those that `rgb` names.
            band_names: Names of all bands in a file. By default red, green, blue for 3 bands of JPEG, PNG or 8-bit
                TIFF, grey for 1 band, otherwise band1 to bandN.
            rgb: Names of the bands that show as red, green and blue, by default those of these names.
            split_lists: One text file a split (train at least), one relative path or file name a line.
            fractions: Shares of train, val and test where splits are computed.
            split_by: Whether single samples, groups or squares on the ground are kept within one split.
            group_pattern: For "group": regular expression searched in the relative path; what its first group (or, if
                it has none, the whole) matches is the group's name.
            group_csv: For "group": table with the columns file and group.
            block_size: For "block": side of a square, in units of the GeoTIFFs' reference system (metres in UTM).
            fold: Makes this of `folds` parts of all but the test share val, and the other parts train.
            folds: Number of folds.
            split_seed: Seed of computed splits, from 0 to 2**32 - 1.

        Raises:
            ConfigError: If settings contradict each other, or a band does not exist.
            DataError: If the folder, a list or a table is missing or inconsistent, or train or val would be empty.
        """
        self.root = Path(root)
        splits.check_fractions(fractions)
        if not 0 <= split_seed < 2**32:
            raise ConfigError(f"data.split_seed is {split_seed}, but must be from 0 to 2**32 - 1.")
        if fold is not None and folds is None:
            raise ConfigError(f"data.fold is {fold} but data.folds is not set; set the number of folds.")
        self._images = find_images(self.root)
        self.classes = tuple(sorted({image.class_name for image in self._images}))
        if len(self.classes) < 2:
            raise DataError(
                f"{self.root} has the one class {self.classes[0]}, but needs at least two classes; data.root must be "
                "the folder that holds the class folders."
            )
        self._file_bands, names = _name_bands(self.root, self._images, band_names)
        self.bands = _choose_bands(bands, names, rgb)
        self._band_numbers = tuple(names.index(band) for band in self.bands)
        self._labels = np.array([self.classes.index(image.class_name) for image in self._images], dtype=np.int64)

        given = _given_splits(self.root, self._images, split_lists)
        fold_of = None if fold is None or folds is None else (fold, folds)
        if given is not None:
            if split_by != "sample":
                origin = "data.split_lists" if split_lists else f"the folders below {self.root}"
                raise ConfigError(f"data.split_by is {split_by}, but {origin} give the splits; set it to sample.")
            self._assignment = _complete(given, self._labels, fractions, fold_of, split_seed)
        else:
            groups = self._groups(split_by, group_pattern, group_csv, block_size)
            self._assignment = _compute(self._labels, groups, fractions, fold_of, split_seed)
        self._check_splits()

    def dataset(self, split: Split) -> FolderDataset:
        """Open a split. Raises `DataError` if it is empty."""
        chosen = np.flatnonzero(self._assignment == SPLITS.index(split))
        if not len(chosen):
            raise DataError(
                f"{self.root} has no {split} samples; give that split, or more images or a larger fraction."
            )
        return FolderDataset(
            root=self.root,
            ids=tuple(self._images[index].id for index in chosen),
            labels=tuple(self._labels[chosen].tolist()),
            band_numbers=self._band_numbers,
            file_bands=self._file_bands,
        )

    def _groups(
        self, split_by: SplitBy, pattern: str | None, table: Path | None, block_size: float | None
    ) -> list[str] | None:
        ids = [image.id for image in self._images]
        match split_by:
            case "sample":
                if pattern is not None or table is not None:
                    raise ConfigError("data.group_pattern or data.group_csv is set, which needs data.split_by=group.")
                return None
            case "group":
                if pattern is not None and table is None:
                    return _groups_by_pattern(ids, pattern)
                if table is not None and pattern is None:
                    return read_group_csv(Path(table), ids)
                raise ConfigError("data.split_by is group, which needs one of data.group_pattern and data.group_csv.")
            case "block":
                if block_size is None:
                    raise ConfigError(
                        "data.split_by is block, which needs data.block_size in units of the images' CRS."
                    )
                places = [read_geolocation(self.root / sample_id) for sample_id in ids]
                crs, x, y = zip(*places, strict=True)
                return splits.spatial_blocks(crs, np.array(x), np.array(y), block_size)
        raise ConfigError(f"data.split_by is {split_by}; it must be sample, group or block.")

    def _check_splits(self) -> None:
        for number, split in enumerate(SPLITS):
            present = np.unique(self._labels[self._assignment == number])
            if not len(present) and split != "test":
                self.dataset(split)  # raises
            if 0 < len(present) < len(self.classes):
                missing = [name for label, name in enumerate(self.classes) if label not in present]
                logger.warning("No %s sample of %d class(es): %s.", split, len(missing), ", ".join(missing[:10]))


def _name_bands(
    root: Path, images: Sequence[FoundImage], band_names: Sequence[str] | None
) -> tuple[int, tuple[str, ...]]:
    """Count the bands of the first image that can be read, and name them."""
    first_image, header = _first_header(root, images)
    count = header.bands
    if band_names is not None:
        names = tuple(band_names)
        if len(names) != count:
            raise DataError(f"data.band_names has {len(names)} names, but {first_image} has {count} bands.")
        if len(set(names)) < count:
            raise ConfigError(f"data.band_names has a name twice: {', '.join(names)}.")
        return count, names
    if count == 1:
        return count, ("grey",)
    is_tiff = first_image.suffix.lower() in {".tif", ".tiff"}
    if count == 3 and (header.dtype == np.uint8 or not is_tiff):
        return count, ("red", "green", "blue")
    return count, tuple(f"band{number}" for number in range(1, count + 1))


def _first_header(root: Path, images: Sequence[FoundImage]) -> tuple[Path, ImageHeader]:
    """Damaged images do not count here: packing lists all of them, or leaves them out."""
    for image in images:
        try:
            return root / image.id, probe_image(root / image.id)
        except DataError:
            continue
    return root / images[0].id, probe_image(root / images[0].id)  # raises


def _choose_bands(bands: Sequence[str] | str, names: Sequence[str], rgb: Sequence[str] | None) -> tuple[str, ...]:
    """Resolve `bands` to names among `names`; raises `ConfigError` for those that do not exist."""
    allowed = f"allowed are all, rgb, or names among {', '.join(names)}"
    if bands == "all":
        return tuple(names)
    key, chosen = "data.bands", tuple(bands) if not isinstance(bands, str) else (bands,)
    if bands == "rgb":
        key, chosen = "data.rgb", tuple(rgb) if rgb is not None else ("red", "green", "blue")
        if rgb is None and not set(chosen) <= set(names):
            raise ConfigError(
                f"data.bands is rgb, but no bands are named red, green and blue; name three of {', '.join(names)} in "
                "data.rgb."
            )
        if len(chosen) != 3:
            raise ConfigError(f"data.rgb is {list(chosen)}; it must name three bands.")
    unknown = [band for band in chosen if band not in names]
    if unknown or not chosen:
        raise ConfigError(f"{key} is {list(chosen)}, with unknown bands {unknown}; {allowed}.")
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"{key} is {list(chosen)}, which names a band twice; {allowed}.")
    return chosen


def _given_splits(
    root: Path, images: Sequence[FoundImage], split_lists: Mapping[Split, Path] | None
) -> splits.Integers | None:
    """Split numbers that lists or folders give, -1 for images that no list names; None if nothing gives splits."""
    in_folders = images[0].split is not None
    if split_lists:
        if in_folders:
            raise ConfigError(f"data.split_lists is set, but {root} has folders for the splits; give one of the two.")
        if "train" not in split_lists or not set(split_lists) <= set(SPLITS):
            raise ConfigError(
                f"data.split_lists has {', '.join(split_lists)}; it needs train, and may have val and test."
            )
        paths: dict[Split, Path] = {split: Path(path) for split, path in split_lists.items()}
        listed = read_split_lists(paths, [image.id for image in images])
        return np.array([SPLITS.index(listed[i.id]) if i.id in listed else -1 for i in images], dtype=np.int64)
    if not in_folders:
        return None
    return np.array([SPLITS.index(image.split) for image in images if image.split is not None], dtype=np.int64)


def _complete(
    given: splits.Integers, labels: splits.Integers, fractions: Sequence[float], fold: tuple[int, int] | None, seed: int
) -> splits.Integers:
    """Cut val from train where it is not given; with a fold, divide train and val anew. Test stays as it is."""
    assignment = given.copy()
    if fold is not None:
        rest = np.flatnonzero((given == splits.TRAIN) | (given == splits.VAL))
        is_val = splits.fold_members(labels[rest], None, *fold, seed)
        assignment[rest] = np.where(is_val, splits.VAL, splits.TRAIN)
    elif not (given == splits.VAL).any():
        rest = np.flatnonzero(given == splits.TRAIN)
        both = fractions[splits.TRAIN] + fractions[splits.VAL]
        shares = (fractions[splits.TRAIN] / both, fractions[splits.VAL] / both, 0.0)
        assignment[rest] = splits.stratified_split(labels[rest], shares, seed)
    return assignment


def _compute(
    labels: splits.Integers,
    groups: Sequence[str] | None,
    fractions: Sequence[float],
    fold: tuple[int, int] | None,
    seed: int,
) -> splits.Integers:
    if fold is not None:
        return splits.fold_split(labels, groups, fractions, *fold, seed)
    if groups is None:
        return splits.stratified_split(labels, fractions, seed)
    return splits.grouped_split(labels, groups, fractions, seed)


def _groups_by_pattern(ids: Sequence[str], pattern: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.group_pattern is {pattern!r}, which is no regular expression: {error}.") from error
    found = [compiled.search(sample_id) for sample_id in ids]
    groups = [match.group(1 if compiled.groups else 0) if match else None for match in found]
    missing = [sample_id for sample_id, group in zip(ids, groups, strict=True) if group is None]
    if missing:
        raise DataError(
            f"data.group_pattern {pattern!r} matches nothing in {len(missing)} of {len(ids)} paths, the first being "
            f"{missing[0]}."
        )
    return [group for group in groups if group is not None]
