"""Images that RAM does not hold: pages are asked for before they are read, and hold what is mapped."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attached import in_epoch
from terrablate.data import module as module_file
from terrablate.data import paging
from terrablate.data.band_statistics import image_statistics
from terrablate.data.module import ChipDataModule
from terrablate.data.paging import PagedImages, images_for_reading, ram
from terrablate.errors import DataError


def mapped(folder: Path, dtype: str = "uint16") -> "np.memmap[Any, Any]":
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 250, (300, 3, 9, 7)).astype(dtype))
    return np.load(folder / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_paged_images_are_the_mapped_ones(tmp_path: Path, dtype: str) -> None:
    images = mapped(tmp_path, dtype)
    rows = np.random.default_rng(1).integers(0, 300, 70)
    found = PagedImages(images)[rows]
    assert found.dtype == images.dtype
    assert np.array_equal(found, images[rows])
    assert PagedImages(images)[rows[:0]].shape == (0, 3, 9, 7)
    found[:] = 0  # a copy
    assert np.array_equal(image_statistics(PagedImages(images), rows), image_statistics(images, rows))  # as floors read


def test_all_pages_of_a_batch_are_asked_for_before_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []

    class Spied(mmap.mmap):
        def madvise(self, option: int, start: int = 0, length: int | None = None) -> None:
            asked.append((option, start, len(self) if length is None else length))
            super().madvise(option, start, len(self) if length is None else length)

    monkeypatch.setattr(paging.mmap, "mmap", Spied)
    images = mapped(tmp_path)
    paged = PagedImages(images)
    assert [option for option, _, _ in asked] == [mmap.MADV_RANDOM]  # the kernel reads nothing around them
    rows = np.array([299, 0, 17])

    class Read:
        def __getitem__(self, read: Any) -> Any:
            assert len(asked) == 1 + len(rows)  # before
            return images[read]

    paged._images = Read()  # type: ignore[assignment]
    assert np.array_equal(paged[rows], images[rows])
    for row, (option, start, length) in zip(rows, asked[1:], strict=True):
        first = images.offset + row * images[0].nbytes
        assert option == mmap.MADV_WILLNEED
        assert start % mmap.PAGESIZE == 0
        assert start <= first < start + mmap.PAGESIZE
        assert start + length == first + images[0].nbytes


def test_images_of_more_than_half_the_ram_are_paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = mapped(tmp_path)
    assert images_for_reading(images) is images
    monkeypatch.setattr(paging, "ram", lambda: images.nbytes)
    assert isinstance(images_for_reading(images), PagedImages)


def test_a_run_trains_on_the_same_batches(
    module: Callable[..., ChipDataModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = list(in_epoch(module(), 1).train_dataloader())
    monkeypatch.setattr(paging, "ram", lambda: 1000)
    paged = module()
    assert isinstance(paged._storage("train"), PagedImages)
    for one, other in zip(batches, in_epoch(paged, 1).train_dataloader(), strict=True):
        assert torch.equal(one["image"], other["image"])


@pytest.mark.parametrize("storage", ["ram", "device"])
def test_what_cannot_be_held_is_refused(
    module: Callable[..., ChipDataModule], monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.setattr(module_file, "ram", lambda: 1000)
    with pytest.raises(DataError, match=rf"^data\.storage={storage}: .* use data\.storage=mmap$"):
        module(f"data.storage={storage}").images("train")


def test_on_a_gpu_what_ram_does_not_hold_stays_on_the_disk_by_itself(
    module: Callable[..., ChipDataModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have to go through RAM as a whole."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**40, 2**40))
    for file in (module_file, paging):
        monkeypatch.setattr(file, "ram", lambda: 1000)
    assert isinstance(module()._load("train", torch.device("cuda")), PagedImages)


@pytest.mark.parametrize("version", [1, 2])
def test_the_ram_of_a_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    whole = ram()
    assert whole > 2**28
    group = tmp_path / ("memory/job" if version == 1 else "job")
    (group / "task").mkdir(parents=True)
    file = "memory.limit_in_bytes" if version == 1 else "memory.max"
    (group / file).write_text("123456789\n")
    (group / "task" / file).write_text("9223372036854771712\n" if version == 1 else "max\n")
    monkeypatch.setattr(paging, "_CGROUPS", tmp_path)
    of_process = tmp_path / "cgroup"
    of_process.write_text("7:cpu:/other\n4:cpuset,memory:/job/task\n" if version == 1 else "0::/job/task\n")
    monkeypatch.setattr(paging, "_OWN", of_process)
    assert ram() == 123456789
