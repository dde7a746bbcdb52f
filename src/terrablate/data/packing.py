"""Writing a pack: read every image once, keep the smallest exact dtype, take the train split's statistics."""

import hashlib
import json
import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from terrablate.config.schema import Data, TorchgeoData
from terrablate.data.open_source import pack_spec
from terrablate.data.pack import FORMAT
from terrablate.data.source import Source, Split, SplitDataset
from terrablate.data.statistics import statistics_of
from terrablate.errors import DataError

logger = logging.getLogger(__name__)

type Array = npt.NDArray[Any]
type Label = int | npt.NDArray[np.uint8]

_INTEGERS = (np.uint8, np.uint16, np.int16)
_CHUNK = 16  # images that a thread reads and that are written together
_LISTED = 50  # images that an error lists at most


@dataclass
class _Problems:
    """Images that cannot be packed, with the reason of each."""

    unreadable: dict[str, str] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    """No problem, but told: values that were nodata, NaN or infinite, by image."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    examples: dict[tuple[int, int], str] = field(default_factory=dict)


def write_pack(source: Source, data: Data, folder: Path, splits: Sequence[Split]) -> None:
    """Write the arrays of the splits and, last, `meta.json`, without which a pack does not count.

    Raises:
        DataError: lists all images that cannot be read, or all sizes where they differ and no `data.image_size` is set.
    """
    problems = _Problems()
    datasets = {split: source.dataset(split) for split in splits}
    meta: dict[str, Any] = {
        "format": FORMAT,
        "spec": pack_spec(data),
        "bands": list(source.bands),
        "classes": list(source.classes),
        "labels": data.labels,
        "splits": {},
    }
    statistics: dict[str, list[float]] = {}
    with _progress(data.name, sum(len(dataset) for dataset in datasets.values())) as advance:
        for split, dataset in datasets.items():
            writer = _Writer(data.name, folder / f"{split}_images.npy")
            labels: list[Label] = []
            ids: list[str] = []
            for images, chunk_labels, chunk_ids in _chunks(dataset, data, len(source.classes), problems, advance):
                writer.append(images)
                labels += chunk_labels
                ids += chunk_ids
            if problems.unreadable and data.on_error == "raise":
                continue  # go on reading, so that the error lists all, of every split
            if not labels:
                if len(problems.sizes) > 1:
                    continue
                raise DataError(f"data={data.name}: the {split} split has no image; it needs at least one")
            writer.close()
            kind = np.uint8 if data.labels == "several" else np.int64
            np.save(folder / f"{split}_labels.npy", np.asarray(labels, dtype=kind))
            (folder / f"{split}_ids.json").write_text(json.dumps(ids), encoding="utf-8")
            meta["splits"][split] = {"count": len(labels), "dtype": writer.dtype.name, "shape": list(writer.shape)}
            if split == "train":
                statistics = asdict(statistics_of(np.load(folder / f"{split}_images.npy", mmap_mode="r")))
    _raise(problems, data)
    if problems.unreadable:
        logger.warning("%d unreadable images are left out; the pack's meta.json lists them", len(problems.unreadable))
    if problems.filled:
        logger.warning(
            "%d images had %d values without data (nodata, NaN or infinite), which took the mean of their band",
            len(problems.filled),
            sum(problems.filled.values()),
        )
    meta["skipped"] = problems.unreadable
    meta["filled"] = dict(sorted(problems.filled.items()))
    if statistics:
        meta["statistics"] = statistics
    meta["fingerprint"] = _fingerprint(folder, meta)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _chunks(
    dataset: SplitDataset, data: Data, classes: int, problems: _Problems, advance: Callable[[int], None]
) -> Iterator[tuple[Array, list[Label], list[str]]]:
    names = dataset.ids

    def read(index: int) -> tuple[str, Array | None, Label, str]:
        try:
            sample = dataset[index]
        except (OSError, ValueError, DataError, SyntaxError) as error:  # Pillow raises SyntaxError on broken PNGs
            return names[index], None, -1, str(error) or type(error).__name__
        image = np.asarray(sample["image"])
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            return names[index], None, -1, "has values that are not finite"
        if filled := sample.get("filled"):
            problems.filled[names[index]] = filled
        _check_label(sample["label"], data, classes, names[index])
        return names[index], _resized(image, data), sample["label"], ""

    def read_all(indices: range) -> list[tuple[str, Array | None, Label, str]]:
        return [read(index) for index in indices]

    chunks = (range(start, min(start + _CHUNK, len(dataset))) for start in range(0, len(dataset), _CHUNK))
    for found in _ahead(read_all, chunks):
        advance(len(found))
        images: list[Array] = []
        labels: list[Label] = []
        ids: list[str] = []
        for name, image, label, reason in found:
            if image is None:
                problems.unreadable[name] = reason
                continue
            size = (image.shape[1], image.shape[2])
            problems.sizes[size] += 1
            problems.examples.setdefault(size, name)
            if len(problems.sizes) == 1:
                images.append(image)
                labels.append(label)
                ids.append(name)
        if images and len(problems.sizes) == 1:
            yield np.stack(images), labels, ids


def _ahead[Given, Found](work: Callable[[Given], Found], given: Iterable[Given]) -> Iterator[Found]:
    """What threads find, in order; they are ahead by one piece of work each, so that memory stays bounded."""
    threads = min(8, len(os.sched_getaffinity(0)))
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Found]] = deque()
    try:
        for one in given:
            waiting.append(pool.submit(work, one))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _check_label(label: Label, data: Data, classes: int, name: str) -> None:
    """Whether a source gives what `data.labels` promises."""
    if isinstance(label, np.ndarray) != (data.labels == "several"):
        found, other = ("several labels", "several") if isinstance(label, np.ndarray) else ("one label", "one")
        raise DataError(f"data.labels={data.labels}: data={data.name} gives {found} an image; use data.labels={other}")
    if isinstance(label, np.ndarray) and (label.shape != (classes,) or not np.isin(label, (0, 1)).all()):
        raise DataError(
            f"data={data.name}: the labels of {name} are {label.tolist()}; expected {classes} zeros and ones, one a"
            " class"
        )


def _resized(image: Array, data: Data) -> Array:
    """Bilinear, antialiased, as torchvision does; whole numbers (of all torchgeo sensors) stay whole."""
    size = data.image_size
    if size is None or image.shape[1:] == (size, size):
        return image
    import torch
    import torch.nn.functional as F  # noqa: N812 - torch's own custom

    tensor = torch.from_numpy(image.astype(np.float32))[None]
    resized = F.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True, align_corners=False)[0].numpy()
    return np.rint(resized) if image.dtype.kind in "iu" or isinstance(data, TorchgeoData) else resized


def _raise(problems: _Problems, data: Data) -> None:
    if problems.unreadable and data.on_error == "raise":
        listed = [f"{name}: {reason}" for name, reason in list(problems.unreadable.items())[:_LISTED]]
        more = len(problems.unreadable) - len(listed)
        raise DataError(
            f"data={data.name}: {len(problems.unreadable)} images cannot be read; repair or remove them, or leave them"
            " out with data.on_error=skip:\n" + "\n".join(listed) + (f"\n... and {more} more" if more else "")
        )
    if len(problems.sizes) > 1:
        found = ", ".join(
            f"{height}x{width} ({count} images, such as {problems.examples[height, width]})"
            for (height, width), count in problems.sizes.most_common(6)
        )
        raise DataError(
            f"data={data.name}: the images have different sizes: {found}; set data.image_size to resize them"
        )


class _Writer:
    """Appends images to a .npy file in the smallest dtype that is exact for all so far; widens what stands there."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._file: Any = None
        self._count = 0
        self._low = 0.0
        self._high = 0.0
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.shape: tuple[int, ...] = ()

    def append(self, images: Array) -> None:
        """Add images, N,C,H,W."""
        needed = self._needed(images)
        if self._file is None:
            self.dtype, self.shape = needed, images.shape[1:]
            self._file = self._path.open("wb")
            self._write_header(self._file)
        elif needed != self.dtype:
            self._widen(needed)
        self._file.write(np.ascontiguousarray(images, dtype=self.dtype).data)
        self._count += len(images)

    def close(self) -> None:
        """Write how many images there are where numpy leaves room for it."""
        self._file.seek(0)
        self._write_header(self._file)
        self._file.close()

    def _write_header(self, file: IO[bytes]) -> None:
        """Of as many bytes whatever the count: numpy pads it by the digits that the first axis may grow to."""
        shape = (self._count, *self.shape)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})

    def _needed(self, images: Array) -> np.dtype[Any]:
        if images.dtype == np.uint8:
            return self.dtype  # the smallest, which all others hold
        self._low = min(self._low, float(images.min()))
        self._high = max(self._high, float(images.max()))
        if self.dtype.kind == "f" or (images.dtype.kind == "f" and not (images == np.rint(images)).all()):
            return self._float32(images)
        for integer in _INTEGERS:
            limits = np.iinfo(integer)
            if limits.min <= self._low and self._high <= limits.max:
                return np.dtype(integer)
        return self._float32(images)

    def _float32(self, images: Array) -> np.dtype[Any]:
        if not np.array_equal(images.astype(np.float32), images):
            raise DataError(f"data={self._name}: has numbers that float32 cannot hold exactly; rescale the images")
        return np.dtype(np.float32)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        self._file.close()
        narrow, self.dtype = self.dtype, dtype
        wider = self._path.with_suffix(".wider")
        with self._path.open("rb") as file, wider.open("wb") as out:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            self._write_header(out)
            while block := file.read((1 << 24) * narrow.itemsize):
                out.write(np.frombuffer(block, dtype=narrow).astype(dtype).data)
        wider.replace(self._path)
        self._file = self._path.open("r+b")
        self._file.seek(0, os.SEEK_END)


def _fingerprint(folder: Path, meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([meta["bands"], meta["classes"], meta["splits"]]).encode())
    for split in meta["splits"]:
        for name in (f"{split}_images.npy", f"{split}_labels.npy", f"{split}_ids.json"):
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Counts images done: a progress bar in a terminal, one line elsewhere."""
    if not sys.stderr.isatty():
        logger.info("packing %d images of %s", total, name)
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Iterable[Any] = (
        TextColumn("packing {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)
