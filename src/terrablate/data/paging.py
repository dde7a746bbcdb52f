"""Images of a pack that RAM does not hold: the pages of a batch are asked for all at once, before they are read.

A mapped file is otherwise read page by page, each of which waits for the disk; and since most files are read from front
to back, the kernel reads 128 KiB around each, for which others must leave. Of shuffled chips that is nearly all for
nothing.
"""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class PagedImages:
    """A memory-mapped array that is indexed by rows.

    Args:
        images: N,C,H,W, as `numpy.load` maps a .npy file.
    """

    def __init__(self, images: "np.memmap[Any, Any]") -> None:
        assert images.filename is not None
        with Path(images.filename).open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._pages.madvise(mmap.MADV_RANDOM)
        self._first, self._length = images.offset, images[0].nbytes
        self.shape, self.dtype = images.shape, images.dtype
        self._images = np.frombuffer(
            self._pages, dtype=images.dtype, count=images.size, offset=images.offset
        ).reshape(images.shape)  # fmt: skip

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Images at these rows, n,C,H,W: a copy."""
        for row in rows.tolist():  # a call takes a microsecond, and hardly ever waits
            start = self._first + row * self._length
            page = start - start % mmap.PAGESIZE
            self._pages.madvise(mmap.MADV_WILLNEED, page, start + self._length - page)
        return self._images[rows]


def images_for_reading(images: "np.memmap[Any, Any]") -> "np.memmap[Any, Any] | PagedImages":
    """Mapped images as they are read fastest: paged ones where they take more than half of the RAM."""
    has_advice = hasattr(mmap, "MADV_WILLNEED")  # not on Windows
    return PagedImages(images) if has_advice and images.nbytes > ram() / 2 else images


def ram() -> int:
    """Bytes of RAM that this process may use: the machine's, or less in a control group of Linux."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])


def _limits() -> list[int]:
    """Of the control groups, version 1 or 2, that hold this process, and of those that hold them."""
    found: list[int | None] = []
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, file = (_CGROUPS, "memory.max") if not controllers else (_CGROUPS / "memory", "memory.limit_in_bytes")
        group = root / name.lstrip("/")
        groups = [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
        found += [_number(folder / file) for folder in groups]
    return [limit for limit in found if limit is not None]


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # there is none, or it says "max"
        return None
