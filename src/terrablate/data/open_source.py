"""From the data section of a config to a source, and the stamp that notices when a source has changed."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from terrablate.config.checks import selected_bands
from terrablate.config.parse import plain
from terrablate.config.schema import (
    BigEarthNetData,
    Data,
    FolderData,
    PatternNetData,
    Sat6Data,
    So2SatData,
    SyntheticData,
    TorchgeoData,
)
from terrablate.data.source import Source, Split

_NOT_IN_PACK = {
    "root", "subfolder", "download", "checksum", "sha256", "scale", "offset", "native_size", "train_per_class",
    "val_per_class", "subset_seed", "label_noise", "imbalance", "sampler", "normalize", "storage",
}  # fmt: skip
"""Keys that say where the data are or how a run uses them, not what the pack holds."""


def open_source(data: Data) -> Source:
    """Open the source that a config asks for.

    Raises:
        DataError: if the data are missing or broken.
        ConfigError: if a band does not exist.
    """
    root = Path(data.root) / data.subfolder
    if isinstance(data, SyntheticData):
        from terrablate.data.patchwork import PatchworkSource
        from terrablate.data.synthetic import BANDS, RGB, SyntheticSource

        bands = selected_bands(data, list(BANDS), list(RGB))
        counts: dict[Split, int] = {"train": data.train, "val": data.val, "test": data.test}
        kind = PatchworkSource if data.labels == "several" else SyntheticSource
        return kind(seed=data.split_seed, size=data.size, counts=counts, bands=bands)
    if isinstance(data, TorchgeoData):
        from terrablate.data.torchgeo_source import TorchgeoSource

        names = data.band_names or []
        return TorchgeoSource(
            data.dataset,
            root,
            band_names=names,
            bands=selected_bands(data, names, data.rgb),
            download=data.download,
            checksum=data.checksum,
        )
    if isinstance(data, FolderData):
        from terrablate.data.folder import FolderSource

        given: dict[Split, str | None] = {"train": data.train_list, "val": data.val_list, "test": data.test_list}
        lists = {split: root / path for split, path in given.items() if path}
        return FolderSource(
            root,
            bands=data.bands,
            band_names=data.band_names,
            rgb=data.rgb,
            split_lists=lists or None,
            fractions=data.fractions,
            split_by=data.split_by,
            group_pattern=data.group_pattern,
            group_csv=Path(data.group_csv) if data.group_csv else None,
            block_size=data.block_size,
            fold=data.fold,
            folds=data.folds,
            split_seed=data.split_seed,
        )
    return _open_odd(data, root)


def _open_odd(data: Data, root: Path) -> Source:
    """Those that torchgeo has in a form of their own, or not at all."""
    bands = selected_bands(data, data.band_names or [], data.rgb)
    match data:
        case PatternNetData():
            from terrablate.data.patternnet import PatternNetSource

            return PatternNetSource(
                root,
                bands=bands,
                fractions=data.fractions,
                split_seed=data.split_seed,
                download=data.download,
                checksum=data.checksum,
            )
        case So2SatData():
            from terrablate.data.so2sat import So2SatSource

            return So2SatSource(
                root,
                version=data.version,
                bands=bands,
                val_fraction=data.val_fraction,
                split_seed=data.split_seed,
                checksum=data.checksum,
            )
        case Sat6Data():
            from terrablate.data.sat6 import Sat6Source

            return Sat6Source(
                root,
                bands=bands,
                val_fraction=data.val_fraction,
                split_seed=data.split_seed,
                sha256=data.sha256,
            )
        case BigEarthNetData():
            from terrablate.data.bigearthnet import BigEarthNetSource

            return BigEarthNetSource(
                root,
                bands=bands,
                num_classes=data.num_classes,
                download=data.download,
                checksum=data.checksum,
            )
    raise TypeError(f"no source for {type(data).__name__}")


def pack_spec(data: Data) -> dict[str, Any]:
    """The part of the data section that decides what a pack holds."""
    spec = {key: value for key, value in plain(data).items() if key not in _NOT_IN_PACK}
    if not _draws(data):
        spec.pop("split_seed")
    if data.labels == "one":
        spec.pop("labels")  # neutral: packs of before there was this key stay valid
    return spec


def _draws(data: Data) -> bool:
    """Whether `data.split_seed` decides what is in a split."""
    match data:
        case FolderData():
            return data.train_list is None or data.fold is not None
        case So2SatData():
            return data.val_fraction is not None
        case SyntheticData() | PatternNetData() | Sat6Data():
            return True
    return False


def stamp(data: Data) -> str | None:
    """A digest that changes when the source changes: names, sizes and times of all files below its folder.

    Of BigEarthNet's millions of files only the folders of its patches count, whose times tell that a file came or went.

    Returns:
        None if the source is not at hand, as on a machine that only has the pack.
    """
    digest = hashlib.sha256()
    if isinstance(data, SyntheticData):
        for module in ("synthetic.py", "scenes.py", *(["patchwork.py"] if data.labels == "several" else [])):
            file = Path(__file__).with_name(module)
            digest.update(file.read_bytes() if file.is_file() else b"")
        return digest.hexdigest()
    root = Path(data.root) / data.subfolder
    if not root.is_dir():
        return None
    for path, size, modified in sorted(_files(root, 2 if isinstance(data, BigEarthNetData) else None)):
        digest.update(f"{path}\0{size}\0{modified}\n".encode(errors="surrogateescape"))
    extra = [data.train_list, data.val_list, data.test_list, data.group_csv] if isinstance(data, FolderData) else []
    for name in extra:
        if name and (root / name).is_file():
            digest.update((root / name).read_bytes())
    return digest.hexdigest()


def _files(root: Path, depth: int | None) -> list[tuple[str, int, int]]:
    """Path, size and time of each file; a folder at the depth counts as one file of size 0."""
    found: list[tuple[str, int, int]] = []
    folders, start = [(str(root), 1)], len(os.path.join(root, ""))  # noqa: PTH118 - a Path has no slash at its end
    while folders:
        folder, level = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_folder = entry.is_dir()
                if is_folder and level != depth:
                    folders.append((entry.path, level + 1))
                else:
                    try:
                        status = entry.stat()
                    except FileNotFoundError:  # a link to nothing
                        status = entry.stat(follow_symlinks=False)
                    size = 0 if is_folder else status.st_size
                    found.append((entry.path[start:], size, status.st_mtime_ns))  # of very many files: no Path for each
    return found


def pack_key(data: Data, stamped: str) -> str:
    """Folder name of the pack of a source in one state."""
    text = json.dumps([pack_spec(data), stamped], sort_keys=True)
    return f"{data.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
