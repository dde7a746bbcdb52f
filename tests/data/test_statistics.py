"""Percentiles of each band: exact where values can be counted, from a fair sample elsewhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terrablate.config import Config
from terrablate.data.pack import ensure_pack
from terrablate.data.statistics import percentiles

PERCENTS = (0, 2, 37.5, 50, 98, 100)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("count", [1, 63, 150])
def test_percentiles_of_integers_are_exactly_numpys(dtype: str, count: int) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(count)
    images = rng.integers(limits.min, limits.max, (count, 3, 5, 4), dtype=dtype, endpoint=True)
    images[:, 1] = 7
    expected = np.percentile(images.transpose(1, 0, 2, 3).reshape(3, -1).astype(float), PERCENTS, axis=1)
    np.testing.assert_allclose(percentiles(images, PERCENTS), expected, rtol=1e-12)


def test_percentiles_of_few_floats_are_exactly_numpys() -> None:
    images = np.random.default_rng(0).normal(size=(130, 2, 6, 6)).astype(np.float32)
    expected = np.percentile(images.transpose(1, 0, 2, 3).reshape(2, -1), PERCENTS, axis=1)
    np.testing.assert_allclose(percentiles(images, PERCENTS), expected, rtol=1e-6)


def test_percentiles_of_many_floats_rest_on_a_sample_that_meets_all_columns() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 8, dtype=np.float32), (400, 1, 8, 8)).copy()
    found = percentiles(ramp, (2, 50, 98), sampled=1600)  # every 16th value, were it not to share factors with 64
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 1], atol=0.1)
    assert np.array_equal(percentiles(ramp, (2, 50, 98), sampled=1600), found)


def test_a_sample_is_taken_across_the_chunks_that_are_read() -> None:
    images = np.arange(200 * 2 * 9, dtype=np.float32).reshape(200, 2, 3, 3)
    flat = images.transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(
        percentiles(images, PERCENTS, sampled=450), np.percentile(flat[:, ::4], PERCENTS, axis=1)
    )


def test_a_pack_has_the_percentiles_of_its_train_split(compose: Callable[..., Config], tmp_path: Path) -> None:
    pack = ensure_pack(compose().data, tmp_path)
    images = pack.images("train").transpose(1, 0, 2, 3).reshape(13, -1).astype(float)
    low, high = np.percentile(images, (2, 98), axis=1)
    np.testing.assert_allclose(pack.statistics.p2, low)
    np.testing.assert_allclose(pack.statistics.p98, high)
    np.testing.assert_allclose(pack.statistics.min, images.min(axis=1))
    np.testing.assert_allclose(pack.statistics.mean, images.mean(axis=1))
