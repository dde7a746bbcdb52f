"""Statistics of each band: exact where values can be counted, percentiles from a fair sample elsewhere."""

import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from terrablate.config import Config
from terrablate.data.pack import ensure_pack
from terrablate.data.statistics import SAMPLED, statistics_of


def expected(images: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    flat = images.transpose(1, 0, 2, 3).reshape(images.shape[1], -1).astype(float)
    return np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1), *np.percentile(flat, (2, 98), axis=1)])


def found(images: npt.NDArray[Any], sampled: int = SAMPLED) -> list[list[float]]:
    return list(asdict(statistics_of(images, sampled)).values())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("count", [1, 63, 150, 20_000])
def test_of_integers_they_are_exactly_numpys(dtype: str, count: int) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(count)
    images = rng.integers(limits.min, limits.max, (count, 3, 5, 4), dtype=dtype, endpoint=True)
    images[:, 1] = 7
    np.testing.assert_allclose(found(images), expected(images), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("count", [1, 130, 20_000])  # the last takes several chunks
def test_of_few_floats_they_are_exactly_numpys(count: int) -> None:
    images = np.random.default_rng(0).normal(100, 3, size=(count, 2, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(found(images), expected(images), rtol=1e-6)


def test_percentiles_of_many_floats_rest_on_a_sample_that_meets_all_columns() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 8, dtype=np.float32), (400, 1, 8, 8)).copy()
    sample = statistics_of(ramp, sampled=1600)  # every 16th value, were it not to share factors with 64
    np.testing.assert_allclose([sample.p2[0], sample.p98[0]], [0, 1], atol=0.1)
    assert statistics_of(ramp, sampled=1600) == sample


def test_a_sample_is_taken_across_the_chunks_that_are_read() -> None:
    images = np.arange(70_000 * 2 * 9, dtype=np.float32).reshape(70_000, 2, 3, 3)
    flat = images.transpose(1, 0, 2, 3).reshape(2, -1)
    sample = statistics_of(images, sampled=157_500)
    np.testing.assert_array_equal([sample.p2, sample.p98], np.percentile(flat[:, ::4], (2, 98), axis=1))


def test_a_sample_keeps_no_more_than_itself_in_memory() -> None:
    images = np.random.default_rng(0).normal(size=(2000, 2, 64, 64)).astype(np.float32)  # 62 MiB
    tracemalloc.start()
    statistics_of(images, sampled=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < images.nbytes / 2


def test_a_pack_has_the_percentiles_of_its_train_split(compose: Callable[..., Config], tmp_path: Path) -> None:
    pack = ensure_pack(compose().data, tmp_path)
    images = pack.images("train").transpose(1, 0, 2, 3).reshape(13, -1).astype(float)
    low, high = np.percentile(images, (2, 98), axis=1)
    np.testing.assert_allclose(pack.statistics.p2, low)
    np.testing.assert_allclose(pack.statistics.p98, high)
    np.testing.assert_allclose(pack.statistics.min, images.min(axis=1))
    np.testing.assert_allclose(pack.statistics.mean, images.mean(axis=1))
