"""Packs: the array copy of a source that training reads, written once, atomically and under a lock."""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import AcquireReturnProxy, FileLock

from terrablate.config.parse import plain
from terrablate.config.schema import Data
from terrablate.data.open_source import open_source, pack_key, pack_spec, stamp
from terrablate.data.source import Labels, Source, Split
from terrablate.data.statistics import BandStatistics
from terrablate.errors import DataError

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the pack format; a pack of another version is written anew."""


@dataclass(frozen=True)
class Pack:
    """A finished pack on disk.

    `images` of a split is N,C,H,W in the smallest dtype that holds the source's values exactly.
    """

    folder: Path
    meta: dict[str, Any]

    @property
    def bands(self) -> list[str]:
        """Band names, in the order of the channels."""
        return self.meta["bands"]

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of their numbers."""
        return self.meta["classes"]

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may be of several classes; packs of before that was possible do not say."""
        return bool(self.meta.get("labels", "one") == "several")

    @property
    def image_size(self) -> int:
        """Side in pixels; the longer one, were the images not square."""
        return max(self.meta["splits"]["train"]["shape"][1:])

    @property
    def fingerprint(self) -> str:
        """sha256 over images, labels, ids, bands and classes of its splits."""
        return self.meta["fingerprint"]

    @property
    def statistics(self) -> BandStatistics:
        """Of the train split."""
        return BandStatistics(**self.meta["statistics"])

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Per-band mean of the train split, in the source's own numbers."""
        return np.asarray(self.meta["statistics"]["mean"])

    @property
    def std(self) -> npt.NDArray[np.float64]:
        """Per-band standard deviation of the train split, in the source's own numbers."""
        return np.asarray(self.meta["statistics"]["std"])

    def images(self, split: Split) -> "np.memmap[Any, Any]":
        """Images of a split, N,C,H,W, memory-mapped read-only."""
        return np.load(self.folder / f"{split}_images.npy", mmap_mode="r")

    def labels(self, split: Split) -> Labels:
        """Labels of a split: class numbers N, int64; of several an image N,K zeros and ones, uint8."""
        return np.load(self.folder / f"{split}_labels.npy")

    def ids(self, split: Split) -> list[str]:
        """Names of the samples of a split, in the order of its images."""
        return json.loads((self.folder / f"{split}_ids.json").read_text(encoding="utf-8"))


def ensure_pack(data: Data, packs_dir: Path, splits: Sequence[Split] = ("train", "val")) -> Pack:
    """Find the pack of a source in its present state, or write it.

    The test split stays out unless it is asked for. Where the source is not at hand, a pack that was made with the
    same settings serves.

    Raises:
        DataError: if the source is missing or broken and there is no pack.
    """
    stamped = stamp(data)
    if stamped is None and (found := _pack_without_source(data, packs_dir, splits)):
        return found
    if stamped is None and not _downloads(data):
        folder = Path(data.root) / data.subfolder
        raise DataError(
            f"data.root={data.root}: there is neither a folder {folder} nor a pack of {data.name} in {packs_dir}"
        )
    suffix = "" if "test" not in splits else "-test"
    if stamped is not None and (found := _load(packs_dir / (pack_key(data, stamped) + suffix))):
        return found
    with _lock(packs_dir, data.name):
        if stamped is not None and (found := _load(packs_dir / (pack_key(data, stamped) + suffix))):
            return found  # another process wrote it meanwhile
        source = open_source(data)  # downloads, if it may
        folder = packs_dir / (pack_key(data, stamp(data) or "") + suffix)
        return _load(folder) or _write(source, data, folder, splits)


def _lock(packs_dir: Path, name: str) -> AcquireReturnProxy[Any]:
    try:
        packs_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(packs_dir / f".{name}.lock").acquire()
    except OSError as error:
        raise _unwritable(packs_dir, error) from error


def _write(source: Source, data: Data, folder: Path, splits: Sequence[Split]) -> Pack:
    """Write a pack aside and rename it when it is whole; to be called under the lock."""
    from terrablate.data.packing import write_pack

    working = folder.parent / f".writing-{data.name}"
    shutil.rmtree(working, ignore_errors=True)  # of a packing that was cut off
    try:
        working.mkdir()
        write_pack(source, data, working, splits)
        shutil.rmtree(folder, ignore_errors=True)  # of an older format
        working.rename(folder)
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    logger.info("packed %s into %s", data.name, folder)
    pack = _load(folder)
    assert pack is not None
    return pack


def _unwritable(packs_dir: Path, error: OSError) -> DataError:
    return DataError(f"packs_dir={packs_dir}: a pack cannot be written there: {error.strerror or error}")


def _downloads(data: Data) -> bool:
    return bool(plain(data).get("download"))


def _load(folder: Path) -> Pack | None:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Pack(folder, meta) if meta["format"] == FORMAT else None


def _pack_without_source(data: Data, packs_dir: Path, splits: Sequence[Split]) -> Pack | None:
    """The pack that was made with the same settings, if there is one."""
    candidates = [_load(folder) for folder in sorted(packs_dir.glob(f"{data.name}-*"))]
    packs = [
        pack
        for pack in candidates
        if pack is not None and pack.meta["spec"] == pack_spec(data) and set(splits) <= set(pack.meta["splits"])
    ]
    if len({pack.fingerprint for pack in packs}) > 1:
        folders = ", ".join(pack.folder.name for pack in packs)
        raise DataError(
            f"data.root={data.root}: the source is not at hand and {packs_dir} holds packs of several of its states"
            f" ({folders}); remove all but one"
        )
    if not packs:
        return None
    logger.warning("%s is not at hand; reading its pack %s", data.name, packs[0].folder)
    return packs[0]
