"""A person's own images: layouts, bands, and what is refused, on tiny files written here."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chip_folders import ids, sizes, sizes_of, write_classes, write_png, write_tiff
from terrablate.data.folder import FolderSource
from terrablate.data.source import SPLITS, Source
from terrablate.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


# --- layouts and computed splits --------------------------------------------------------------------------------------


def test_class_folders_are_split_by_the_fractions_and_stratified(tmp_path: Path) -> None:
    source: Source = FolderSource(write_classes(tmp_path))
    assert isinstance(source, FolderSource)
    assert source.classes == ("forest", "water")
    assert sizes(source) == [{0: 14, 1: 14}, {0: 3, 1: 3}, {0: 3, 1: 3}]
    everything = [sample_id for split in SPLITS for sample_id in ids(source, split)]
    assert sorted(everything) == [f"{name}/{name}_{number:02}.png" for name in source.classes for number in range(20)]
    assert all(ids(source, split) == sorted(ids(source, split)) for split in SPLITS)


def test_samples_hold_the_files_pixels_and_their_folders_label(tmp_path: Path) -> None:
    dataset = FolderSource(write_classes(tmp_path)).dataset("train")
    for index, sample_id in enumerate(dataset.ids):
        name, number = sample_id.removesuffix(".png").split("/")[1].split("_")
        label = ["forest", "water"].index(name)
        sample = dataset[index]
        assert sample["label"] == label
        assert sample["image"].shape == (3, 2, 3)
        assert sample["image"].dtype == np.uint8
        assert sample["image"][:, 0, 0].tolist() == [100 * label + int(number) + band for band in range(3)]


def test_the_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    write_classes(tmp_path)
    assert ids(FolderSource(tmp_path), "val") == ids(FolderSource(tmp_path), "val")
    assert ids(FolderSource(tmp_path), "val") != ids(FolderSource(tmp_path, split_seed=1), "val")


def test_a_dataset_survives_pickling_to_workers(tmp_path: Path) -> None:
    dataset = FolderSource(write_classes(tmp_path)).dataset("test")
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.ids == dataset.ids
    np.testing.assert_array_equal(copy[0]["image"], dataset[0]["image"])


def test_nested_folders_count_and_hidden_and_other_files_do_not(tmp_path: Path) -> None:
    write_classes(tmp_path, 4)
    write_png(tmp_path / "forest" / "scene1" / "deep.PNG")
    write_png(tmp_path / "forest" / ".cache" / "hidden.png")
    write_png(tmp_path / "forest" / "._copy.png")
    write_png(tmp_path / ".trash" / "x.png")
    for name in ("README.txt", "forest/.DS_Store", "forest/Thumbs.db", "forest/a.tfw"):
        (tmp_path / name).write_text("")
    source = FolderSource(tmp_path)
    assert source.classes == ("forest", "water")
    everything = [sample_id for split in SPLITS for sample_id in ids(source, split)]
    assert len(everything) == 9
    assert "forest/scene1/deep.PNG" in everything


def test_images_outside_of_class_folders_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_classes(tmp_path, 4)
    write_png(tmp_path / "loose.png")
    with caplog.at_level(logging.WARNING):
        FolderSource(tmp_path)
    assert "holds 1 image(s) outside of any class folder" in caplog.text


@pytest.mark.parametrize("val_folder", ["val", "valid", "validation", "Val"])
def test_split_folders_give_the_splits(tmp_path: Path, val_folder: str) -> None:
    for folder, count in (("train", 4), (val_folder, 2), ("test", 3)):
        write_classes(tmp_path / folder, count)
    source = FolderSource(tmp_path)
    assert sizes(source) == [{0: 4, 1: 4}, {0: 2, 1: 2}, {0: 3, 1: 3}]
    assert ids(source, "val")[0] == f"{val_folder}/forest/forest_00.png"


def test_val_is_cut_from_the_train_folder_in_proportion(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 20)
    write_classes(tmp_path / "test", 3)
    source = FolderSource(tmp_path, fractions=(0.6, 0.2, 0.2))
    assert sizes(source) == [{0: 15, 1: 15}, {0: 5, 1: 5}, {0: 3, 1: 3}]
    assert all(sample_id.startswith("test/") for sample_id in ids(source, "test"))


def test_classes_are_the_union_over_the_split_folders_and_gaps_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_classes(tmp_path / "train", 3, ("c", "a"))
    write_classes(tmp_path / "val", 2, ("a", "b"))
    with caplog.at_level(logging.WARNING):
        source = FolderSource(tmp_path)
    assert source.classes == ("a", "b", "c")
    assert sizes_of(source, "train") == {0: 3, 2: 3}
    assert sizes_of(source, "val") == {0: 2, 1: 2}
    assert "No train sample of 1 class(es): b." in caplog.text
    with pytest.raises(DataError, match="has no test samples"):
        source.dataset("test")


def test_a_missing_root_is_refused_with_setting_and_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root is .*gone, which is not a folder.*<root>/<class>/<images> or"):
        FolderSource(tmp_path / "gone")


def test_a_root_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root is .* has no image in a class folder"):
        FolderSource(tmp_path)


def test_an_empty_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    write_classes(tmp_path, 4)
    (tmp_path / "desert").mkdir()
    with pytest.raises(DataError, match=r"class folder .*desert has no image"):
        FolderSource(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, 4, ("forest",))
    with pytest.raises(DataError, match="has the one class forest, but needs at least two classes"):
        FolderSource(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "val", "extra"), r"split folders \(train, val\) but also other folders \(extra\)"),
        (("val", "test"), r"split folders \(test, val\) but no train folder"),
        (("train", "val", "valid"), "two folders for one split"),
    ],
)
def test_unclear_split_folders_are_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    for folder in folders:
        write_classes(tmp_path / folder, 2)
    with pytest.raises(DataError, match=message):
        FolderSource(tmp_path)


def test_an_empty_val_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no val samples"):
        FolderSource(write_classes(tmp_path), fractions=(0.8, 0.0, 0.2))


# --- bands ------------------------------------------------------------------------------------------------------------


def write_bands(root: Path, count: int, dtype: str) -> Path:
    for name in ("forest", "water"):
        for number in range(4):
            write_tiff(root / name / f"{number}.tif", np.arange(count * 4).reshape(count, 2, 2).astype(dtype))
    return root


@pytest.mark.parametrize(
    ("count", "dtype", "names"),
    [
        (1, "float32", ("grey",)),
        (2, "float32", ("band1", "band2")),
        (3, "uint8", ("red", "green", "blue")),
        (3, "uint16", ("band1", "band2", "band3")),
        (4, "uint8", ("band1", "band2", "band3", "band4")),
    ],
)
def test_bands_have_default_names(tmp_path: Path, count: int, dtype: str, names: tuple[str, ...]) -> None:
    source = FolderSource(write_bands(tmp_path, count, dtype))
    assert source.bands == names
    assert source.dataset("train")[0]["image"].dtype == dtype


def test_bands_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    names = ["B02", "B03", "B04", "B08"]
    write_bands(tmp_path, 4, "uint16")
    source = FolderSource(tmp_path, bands=["B08", "B02"], band_names=names)
    assert source.bands == ("B08", "B02")
    assert source.dataset("train")[0]["image"][:, 0, 0].tolist() == [12, 0]
    source = FolderSource(tmp_path, bands="rgb", band_names=names, rgb=["B04", "B03", "B02"])
    assert source.bands == ("B04", "B03", "B02")
    assert source.dataset("train")[0]["image"][:, 0, 0].tolist() == [8, 4, 0]


def test_rgb_means_red_green_blue_by_default(tmp_path: Path) -> None:
    write_bands(tmp_path, 4, "uint16")
    source = FolderSource(tmp_path, bands="rgb", band_names=["blue", "green", "red", "nir"])
    assert source.dataset("train")[0]["image"][:, 0, 0].tolist() == [8, 4, 0]
    with pytest.raises(ConfigError, match=r"data\.bands is rgb, but no bands are named red, green and blue"):
        FolderSource(tmp_path, bands="rgb")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"bands": ["band1", "B9"]}, ConfigError, r"data\.bands is \['band1', 'B9'\].*'B9'.*among band1, band2\.$"),
        ({"bands": "B9"}, ConfigError, r"data\.bands is \['B9'\]"),
        ({"bands": []}, ConfigError, r"data\.bands is \[\]"),
        ({"bands": ["band1", "band1"]}, ConfigError, "names a band twice"),
        ({"bands": "rgb", "rgb": ["band1", "band2", "x"]}, ConfigError, r"data\.rgb is .*'x'"),
        ({"bands": "rgb", "rgb": ["band1", "band2"]}, ConfigError, r"data\.rgb is .* must name three bands"),
        ({"band_names": ["vv"]}, DataError, r"data\.band_names has 1 names, but .*0\.tif has 2 bands"),
        ({"band_names": ["vv", "vv"]}, ConfigError, r"data\.band_names has a name twice"),
    ],
)
def test_bands_that_do_not_exist_are_refused(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    write_bands(tmp_path, 2, "float32")
    with pytest.raises(error, match=message):
        FolderSource(tmp_path, **settings)


def test_an_image_with_another_band_count_is_refused_when_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 2)
    write_classes(tmp_path / "val", 1)
    Image.new("L", (3, 2)).save(tmp_path / "train" / "water" / "water_01.png")
    dataset = FolderSource(tmp_path).dataset("train")
    with pytest.raises(DataError, match=r"water_01\.png has 1 band\(s\) where 3 are expected"):
        dataset[list(dataset.ids).index("train/water/water_01.png")]


def test_invalid_pixels_are_filled_and_counted(tmp_path: Path) -> None:
    pixels = np.array([[[-10.0, np.nan, -20.0]], [[-99.0, 3.0, 5.0]]], dtype="float32")
    for name in ("forest", "water"):
        for number in range(4):
            write_tiff(tmp_path / name / f"{number}.tif", pixels, nodata=-99)
    sample = FolderSource(tmp_path, band_names=["vv", "vh"]).dataset("train")[0]
    filled = sample["filled"]
    assert sample["image"].tolist() == [[[-10.0, -15.0, -20.0]], [[4.0, 3.0, 5.0]]]
    assert filled == 2


def test_a_damaged_image_is_refused_when_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 2)
    write_classes(tmp_path / "val", 1)
    (tmp_path / "train" / "forest" / "forest_01.png").write_text("no image")
    dataset = FolderSource(tmp_path).dataset("train")
    with pytest.raises(DataError, match=r"forest_01\.png is not an image"):
        dataset[1]
