"""Synthetic chips with several labels: reproducible, every class there, and labels that the pixels show."""

import numpy as np
import pytest

from terrablate.data.patchwork import PatchworkSource, generate_patchwork
from terrablate.data.source import SPLITS
from terrablate.data.synthetic import BANDS, CLASSES, generate_chip
from terrablate.errors import DataError


def labels_of(count: int) -> np.ndarray:
    return np.stack([generate_patchwork(0, "train", index, 16)[1] for index in range(count)])


def test_the_same_arguments_give_the_same_chip() -> None:
    for index in range(10):
        chip, labels = generate_patchwork(7, "train", index, 32)
        again, same = generate_patchwork(7, "train", index, 32)
        assert chip.tobytes() == again.tobytes()
        assert labels.tobytes() == same.tobytes()


def test_seed_split_and_index_each_change_the_chip() -> None:
    arguments = [(0, split, index) for split in SPLITS for index in (0, 10)] + [(1, "train", 0)]
    chips = {generate_patchwork(*each, 16)[0].tobytes() for each in arguments}
    assert len(chips) == len(arguments)
    assert generate_chip(0, "train", 0, 16).tobytes() not in chips


def test_chips_show_one_to_three_classes_and_any_ten_in_a_row_show_all() -> None:
    labels = labels_of(200)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1}
    shares = np.bincount(labels.sum(1), minlength=4) / 200
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([0.3, 0.4, 0.3], abs=0.12)
    assert all(labels[start : start + 10].any(0).all() for start in range(190))


def test_classes_are_unevenly_frequent_and_come_together_in_many_ways() -> None:
    labels = labels_of(300).astype(int)
    frequency = dict(zip(CLASSES, labels.mean(0), strict=True))
    assert frequency["AnnualCrop"] > 1.5 * frequency["Industrial"]
    together = labels.T @ labels
    assert (together > 0).sum() > 70


@pytest.mark.parametrize("size", [16, 17, 33, 64])
def test_any_size_can_be_drawn(size: int) -> None:
    for index in range(10):
        chip, _ = generate_patchwork(1, "val", index, size)
        assert chip.shape == (13, size, size)
        assert chip.dtype == np.uint16
        assert 1 <= chip.min() < chip.max() < 20_000


def test_what_the_labels_say_is_in_the_pixels() -> None:
    """Water is darker in the short-wave infrared than all land, and a chip with some shows it somewhere."""
    images, labels = zip(*(generate_patchwork(0, "train", index, 32) for index in range(120)), strict=True)
    darkest = np.array([np.percentile(image[BANDS.index("B11")], 10) for image in images])
    has_water = np.stack(labels)[:, [CLASSES.index("SeaLake"), CLASSES.index("River")]].any(1)
    assert np.median(darkest[has_water]) < 0.6 * np.median(darkest[~has_water])


def test_quarters_differ_where_several_classes_are_shown() -> None:
    """Class means of quarters vary more within a chip of several classes than within one of a single class."""

    def spread(chip: np.ndarray) -> float:
        quarters = chip[3].reshape(2, 16, 2, 16).mean((1, 3))
        return float(quarters.std() / quarters.mean())

    drawn = [generate_patchwork(0, "train", index, 32) for index in range(150)]
    several = [spread(chip) for chip, labels in drawn if labels.sum() > 1]
    single = [spread(chip) for chip, labels in drawn if labels.sum() == 1]
    assert np.median(several) > 1.3 * np.median(single)


def test_the_source_gives_bands_in_order_and_vectors_of_labels() -> None:
    source = PatchworkSource(seed=0, size=16, counts={"train": 3}, bands=("B04", "B8A"))
    sample = source.dataset("train")[2]
    chip, labels = generate_patchwork(0, "train", 2, 16)
    assert np.array_equal(sample["image"], chip[[3, 12]])
    assert np.array_equal(sample["label"], labels)
    assert source.classes == CLASSES
    with pytest.raises(DataError, match="no split val"):
        source.dataset("val")
    with pytest.raises(IndexError, match="Chip 3"):
        source.dataset("train")[3]


def test_wrong_requests_are_refused_with_what_was_given() -> None:
    with pytest.raises(ValueError, match="size 8"):
        generate_patchwork(0, "train", 0, 8)
    with pytest.raises(ValueError, match="index -1"):
        generate_patchwork(0, "train", -1, 16)
