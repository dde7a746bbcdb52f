"""Finding a person's images below a root folder, and matching them with split lists and group tables."""

import csv
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from terrablate.data.image_files import is_image_name
from terrablate.data.source import Split
from terrablate.errors import DataError

logger = logging.getLogger(__name__)

SPLIT_FOLDERS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
LAYOUTS = "<root>/<class>/<images> or <root>/{train,val,test}/<class>/<images>"


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image file of a class."""

    id: str
    """POSIX path below the root."""
    class_name: str
    split: Split | None
    """The split whose folder it lies in; None where the layout has no split folders."""


def find_images(root: Path) -> list[FoundImage]:
    """Find the images below a root of either layout, sorted by id.

    Hidden files and folders (leading dot) and files without an image's suffix are passed over. Images may lie in
    sub-folders of a class; links to folders are followed for classes and splits only.

    Raises:
        DataError: If the root is missing or without images, a class folder is empty, or the layout is unclear.
    """
    if not root.is_dir():
        raise DataError(f"data.root is {root}, which is not a folder; it must be laid out as {LAYOUTS}.")
    folders = _folders(root)
    splits = {folder: SPLIT_FOLDERS.get(folder.name.lower()) for folder in folders}
    named = [folder.name for folder, split in splits.items() if split is not None]
    if len(named) == len(folders) and "train" in splits.values():
        if len(set(splits.values())) < len(folders):
            raise DataError(f"{root} has two folders for one split: {', '.join(named)}; keep one of each.")
        images = [image for folder, split in splits.items() for image in _find_classes(root, folder, split)]
    elif len(named) >= 2 or (named and len(named) == len(folders)):
        # Taking "train" and "test" for classes would train without a word on nonsense.
        others = sorted(folder.name for folder in folders if folder.name not in named)
        raise DataError(
            f"{root} has split folders ({', '.join(named)}) but "
            + (f"also other folders ({', '.join(others[:3])})" if others else "no train folder")
            + f"; it must be laid out as {LAYOUTS}."
        )
    else:
        images = _find_classes(root, root, None)
    if not images:
        raise DataError(f"data.root is {root}, which has no image in a class folder; it must be laid out as {LAYOUTS}.")
    return sorted(images, key=lambda image: image.id)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _find_classes(root: Path, parent: Path, split: Split | None) -> list[FoundImage]:
    loose = sum(is_image_name(path) and not path.name.startswith(".") for path in parent.iterdir() if path.is_file())
    if loose:
        logger.warning("%s holds %d image(s) outside of any class folder: they are not used.", parent, loose)
    images: list[FoundImage] = []
    for class_folder in _folders(parent):
        ids = list(_image_ids(root, class_folder))
        if not ids:
            raise DataError(f"The class folder {class_folder} has no image; fill it or remove it.")
        images.extend(FoundImage(sample_id, class_folder.name, split) for sample_id in ids)
    return images


def _image_ids(root: Path, class_folder: Path) -> Iterable[str]:
    for folder, subfolders, names in os.walk(class_folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and is_image_name(path):
                yield path.relative_to(root).as_posix()


class NameMatcher:
    """Finds the image that a line of a list means: by relative path or bare name, with its own or another suffix."""

    def __init__(self, ids: Sequence[str]) -> None:
        """Index the ids (POSIX paths below the root)."""
        self._ids = frozenset(ids)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for sample_id in ids:
            path = PurePosixPath(sample_id)
            self._by_name[path.name].append(sample_id)
            self._by_stem[path.stem].append(sample_id)
            self._by_stem[path.with_suffix("").as_posix()].append(sample_id)

    def find(self, name: str, listed_in: Path) -> str | None:
        """Return the id that a listed name means, None if there is no such file.

        Raises:
            DataError: If the name fits several files.
        """
        path = PurePosixPath(name)
        if path.as_posix() in self._ids:
            return path.as_posix()
        stem = path.with_suffix("") if is_image_name(Path(name)) else path
        # EuroSAT's lists say .jpg where the files are .tif.
        found = self._by_name.get(path.as_posix()) or self._by_stem.get(stem.as_posix()) or []
        if len(found) > 1:
            raise DataError(
                f"{listed_in} lists {name}, which may mean {found[0]} or {found[1]}; list paths below data.root."
            )
        return found[0] if found else None


def read_split_lists(lists: Mapping[Split, Path], ids: Sequence[str]) -> dict[str, Split]:
    """Read one text file a split, one relative path or bare file name a line, into a split for every listed id.

    Names without a file are passed over with a warning that counts them.

    Raises:
        DataError: If a list is missing or is no text, none of its names exists, a name is ambiguous, or an image
            stands in two lists.
    """
    matcher = NameMatcher(ids)
    split_of: dict[str, Split] = {}
    for split, path in lists.items():
        names = [line.strip() for line in _read_text(path, f"data.split_lists.{split}").splitlines() if line.strip()]
        found = [sample_id for name in names if (sample_id := matcher.find(name, path)) is not None]
        if not found:
            first = f" (the first is {names[0]})" if names else ""
            raise DataError(f"None of the {len(names)} names in {path}{first} is an image below data.root.")
        if len(found) < len(names):
            logger.warning("%s lists %d names without a file, of %d.", path, len(names) - len(found), len(names))
        for sample_id in found:
            if split_of.setdefault(sample_id, split) != split:
                raise DataError(
                    f"{sample_id} is listed for both {split_of[sample_id]} and {split}, the latter in {path}."
                )
    if len(split_of) < len(ids):
        logger.warning("%d of %d images are in no split list: they are not used.", len(ids) - len(split_of), len(ids))
    return split_of


def read_group_csv(path: Path, ids: Sequence[str]) -> list[str]:
    """Read the group of every image from a CSV table with the columns `file` and `group`.

    `file` is a relative path or a bare file name. Rows without a file are passed over.

    Raises:
        DataError: If the table is missing or lacks a column, a name is ambiguous, or an image has none or two groups.
    """
    rows = csv.DictReader(_read_text(path, "data.group_csv").splitlines())
    if not {"file", "group"} <= set(rows.fieldnames or ()):
        raise DataError(f"{path} has the columns {', '.join(rows.fieldnames or ())}; it must have file and group.")
    matcher = NameMatcher(ids)
    group_of: dict[str, str] = {}
    for row in rows:
        file, group = (row["file"] or "").strip(), (row["group"] or "").strip()
        sample_id = matcher.find(file, path)
        if sample_id is None or not group:
            continue
        if group_of.setdefault(sample_id, group) != group:
            raise DataError(f"{path} puts {sample_id} into two groups, {group_of[sample_id]} and {group}.")
    missing = [sample_id for sample_id in ids if sample_id not in group_of]
    if missing:
        raise DataError(f"{path} gives no group for {len(missing)} of {len(ids)} images, the first being {missing[0]}.")
    return [group_of[sample_id] for sample_id in ids]


def _read_text(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{key} is {path}, which cannot be opened: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{key} is {path}, which is not a text file in UTF-8.") from error
