"""Tests of the synthetic source: reproducible, balanced, plausible in every band, and not solved by colour alone."""

import numpy as np
import numpy.typing as npt
import pytest

from terrablate.data.source import SPLITS, Split
from terrablate.data.synthetic import BANDS, CLASSES, RGB, SyntheticSource, generate_chip
from terrablate.errors import ConfigError, DataError


def source(count: int = 20, *, seed: int = 0, size: int = 16, bands: tuple[str, ...] = BANDS) -> SyntheticSource:
    """A source with `count` training chips and half as many for validation."""
    return SyntheticSource(seed=seed, size=size, counts={"train": count, "val": count // 2}, bands=bands)


def chips(name: str, count: int = 8, size: int = 48) -> npt.NDArray[np.float64]:
    """The first chips of one class as (count, 13, size, size)."""
    first = CLASSES.index(name)
    return np.stack([generate_chip(3, "train", first + 10 * i, size) for i in range(count)]).astype(np.float64)


def band(images: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """One band of (N, 13, H, W)."""
    return images[:, BANDS.index(name)]


def mean_spectra(split: Split, count: int) -> npt.NDArray[np.float64]:
    """Mean of every band, shape (count, 13), of the first chips of a split."""
    return np.stack([generate_chip(0, split, index, 32).mean((1, 2)) for index in range(count)])


def test_classes_and_bands_are_eurosats_in_eurosats_order() -> None:
    assert " ".join(CLASSES) == (
        "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake"
    )
    assert " ".join(BANDS) == "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A"
    assert RGB == ("B04", "B03", "B02")


def test_the_same_arguments_give_the_same_bytes() -> None:
    for index in range(20):
        assert generate_chip(7, "train", index, 32).tobytes() == generate_chip(7, "train", index, 32).tobytes()


def test_a_chip_depends_on_neither_the_count_nor_the_order() -> None:
    few, many = source(20).dataset("train"), source(40).dataset("train")
    backwards = {index: many[index]["image"] for index in reversed(range(40))}
    for index in range(20):
        np.testing.assert_array_equal(few[index]["image"], backwards[index])
    assert tuple(few.ids) == tuple(many.ids)[:20]


def test_seed_split_and_index_each_change_the_chip() -> None:
    # 2**32 is the seed whose second word would be an index if the two were simply strung together.
    arguments = [(0, split, index) for split in SPLITS for index in (0, 10)]
    arguments += [(1, "train", 0), (2**32, "train", 0)]
    assert len({generate_chip(*each, 16).tobytes() for each in arguments}) == len(arguments)


@pytest.mark.parametrize("size", [16, 17, 32, 64, 100])
def test_every_class_can_be_drawn_at_any_size(size: int) -> None:
    for index in range(10):
        chip = generate_chip(1, "val", index, size)
        assert chip.dtype == np.uint16
        assert chip.shape == (13, size, size)


def test_values_are_plausible_reflectances() -> None:
    images = np.stack([generate_chip(4, "train", index, 32) for index in range(100)])
    assert images.min() >= 1
    assert images.max() < 20_000
    assert (images > 6_000).mean() < 0.01
    assert 500 < images.mean() < 3_000
    assert images.mean((0, 2, 3))[BANDS.index("B10")] < 20


def test_forest_has_the_red_edge_of_plants() -> None:
    forest = chips("Forest")
    infrared, red = band(forest, "B08").mean((1, 2)), band(forest, "B04").mean((1, 2))
    assert (infrared > 2 * red).all()
    assert (band(forest, "B8A").mean((1, 2)) > band(forest, "B05").mean((1, 2))).all()


def test_open_water_is_dark_in_the_short_wave_infrared() -> None:
    # A tenth percentile, as half of the scenes have a shore.
    water = np.percentile(band(chips("SeaLake"), "B11"), 10, axis=(1, 2))
    fields = np.percentile(band(chips("AnnualCrop"), "B11"), 10, axis=(1, 2))
    assert np.median(water) < 400
    assert np.median(fields) > 1_000


def test_blue_is_brighter_than_near_infrared_over_open_water() -> None:
    sea = chips("SeaLake")
    assert np.median(np.percentile(band(sea, "B02"), 10, axis=(1, 2))) > np.median(
        np.percentile(band(sea, "B08"), 10, axis=(1, 2))
    )


def test_coarse_bands_are_smoother_than_fine_ones() -> None:
    town = chips("Residential")

    def roughness(name: str) -> float:
        values = band(town, name)
        return float(np.abs(np.diff(values, axis=2)).mean() / values.std())

    assert roughness("B01") < roughness("B05") < roughness("B04")


def test_labels_are_balanced_in_every_prefix_and_index_the_classes() -> None:
    dataset = source(20).dataset("train")
    assert [dataset[index]["label"] for index in range(20)] == list(range(10)) * 2
    assert source().classes == CLASSES


def test_splits_have_their_counts_and_ids() -> None:
    dataset = source(20).dataset("train")
    assert len(dataset) == 20
    assert dataset.ids[12] == "train-00012"
    assert len(source(20).dataset("val")) == 10


def test_iteration_ends_after_the_last_chip() -> None:
    assert [sample["label"] for sample in source(3).dataset("train")] == [0, 1, 2]  # type: ignore[attr-defined]


def test_selected_bands_are_slices_of_all_bands_in_the_order_asked_for() -> None:
    picture, full = source(bands=("B8A", *RGB)), source()
    assert picture.bands == ("B8A", "B04", "B03", "B02")
    for index in range(10):
        image = picture.dataset("train")[index]["image"]
        np.testing.assert_array_equal(image, full.dataset("train")[index]["image"][[12, 3, 2, 1]])
        assert image.flags["C_CONTIGUOUS"]


def test_mean_spectra_of_classes_overlap() -> None:
    train, test = mean_spectra("train", 300), mean_spectra("test", 200)
    scale = train.std(0)
    centroids = np.stack([train[label::10].mean(0) for label in range(10)])
    distance = np.linalg.norm((test[:, None] - centroids) / scale, axis=2)
    accuracy = (distance.argmin(1) == np.arange(200) % 10).mean()
    assert 0.2 < accuracy < 0.6


def test_wrong_requests_are_refused_with_what_was_given() -> None:
    with pytest.raises(ConfigError, match="B13"):
        source(bands=("B02", "B13"))
    with pytest.raises(ConfigError, match="each once"):
        source(bands=("B02", "B02"))
    with pytest.raises(ConfigError, match="size is 15"):
        source(size=15)
    with pytest.raises(ConfigError, match="seed is -1"):
        source(seed=-1)
    with pytest.raises(ConfigError, match="-2"):
        SyntheticSource(seed=0, size=16, counts={"train": -2}, bands=BANDS)
    with pytest.raises(DataError, match="no split test; counts has train, val"):
        source().dataset("test")
    with pytest.raises(ValueError, match="size 8"):
        generate_chip(0, "train", 0, 8)
    with pytest.raises(ValueError, match="index -1"):
        generate_chip(0, "train", -1, 16)
