"""Statistics of each band of each image: numpy's numbers, for any type, piece size and number of threads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrablate.data import band_statistics
from terrablate.data.band_statistics import PER_BAND, image_statistics

Array = np.ndarray[Any, Any]


def chips(dtype: str, count: int = 7, bands: int = 3, height: int = 5, width: int = 4) -> Array:
    low, high = {"uint8": (0, 256), "uint16": (0, 65536), "int16": (-32768, 32768), "int32": (-(2**31), 2**31)}.get(
        dtype, (-1000, 1000)
    )
    drawn = np.random.default_rng(0).uniform(low, high, (count, bands, height, width))
    return np.floor(drawn).astype(dtype) if dtype != "float32" else drawn.astype(dtype)


def by_hand(image: Array) -> list[float]:
    found: list[float] = []
    for band in image.astype(np.float64):
        found += [band.mean(), band.std(), *np.percentile(band, [5, 25, 50, 75, 95])]
    return found


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("size", [(5, 4), (1, 1), (1, 2), (16, 16)])
def test_statistics_are_numpys(dtype: str, size: tuple[int, int]) -> None:
    images = chips(dtype, height=size[0], width=size[1])
    found = image_statistics(images, np.arange(len(images)))
    assert found.shape == (7, 3 * PER_BAND)
    assert found.dtype == np.float64
    assert np.allclose(found, [by_hand(image) for image in images], rtol=1e-12, atol=1e-9)


def test_rows_come_in_the_order_they_are_asked_for() -> None:
    images = chips("uint16")
    rows = np.array([4, 0, 0, 6])
    assert np.allclose(image_statistics(images, rows), [by_hand(images[row]) for row in rows])
    assert image_statistics(images, np.arange(0)).shape == (0, 3 * PER_BAND)


@pytest.mark.parametrize("values", [1, 120, 130, 10_000])  # an image has 60
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_pieces_nor_threads_change_a_digit(values: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = chips("float32", count=31)
    whole = image_statistics(images, np.arange(31))
    monkeypatch.setattr(band_statistics, "_VALUES_AT_ONCE", values)
    assert np.array_equal(image_statistics(images, np.arange(31), threads), whole)


def test_the_spread_holds_where_the_mean_dwarfs_it() -> None:
    images = np.full((1, 1, 4, 4), 60_000, np.uint16)
    images[0, 0, :2] += 1
    assert image_statistics(images, np.arange(1))[0, 1] == pytest.approx(0.5, rel=1e-12)


def test_a_mapped_file_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = chips("uint8", count=20)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    sizes: list[int] = []
    compute = band_statistics._statistics

    def seen(values: Array) -> Array:
        sizes.append(len(values))
        return compute(values)

    monkeypatch.setattr(band_statistics, "_statistics", seen)
    monkeypatch.setattr(band_statistics, "_VALUES_AT_ONCE", 60 * 8)
    assert np.array_equal(image_statistics(mapped, np.arange(20)), image_statistics(images, np.arange(20)))
    assert sizes == [24, 24, 12] * 2  # rows of 8 images of 3 bands, at most


def test_what_fails_in_a_thread_is_raised() -> None:
    with pytest.raises(IndexError):
        image_statistics(chips("uint8"), np.array([0, 99]), threads=2)
