"""Splits of a person's own images: by groups, blocks, folds and lists, on tiny files written here."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import from_origin

from chip_folders import ids, sizes, sizes_of, write_classes, write_list, write_png, write_tiff
from terrablate.data.folder import FolderSource
from terrablate.data.source import SPLITS, Split
from terrablate.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def groups_are_apart(source: FolderSource, group_of: dict[str, str]) -> bool:
    found = [{group_of[sample_id] for sample_id in ids(source, split)} for split in SPLITS]
    return not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])


# --- groups, blocks, folds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [r"_(\d)\d\.png$", r"_\d"])
def test_a_pattern_keeps_groups_within_one_split(tmp_path: Path, pattern: str) -> None:
    write_classes(tmp_path, 40)
    source = FolderSource(tmp_path, split_by="group", group_pattern=pattern, fractions=(0.5, 0.25, 0.25))
    assert sizes(source) == [{0: 20, 1: 20}, {0: 10, 1: 10}, {0: 10, 1: 10}]
    everything = [sample_id for split in SPLITS for sample_id in ids(source, split)]
    assert groups_are_apart(source, {sample_id: sample_id.split("_")[1][0] for sample_id in everything})


def test_a_table_keeps_groups_within_one_split(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", 10)
    group_of = {f"{c}/{c}_{n:02}.png": f"scene{n % 5}" for c in ("forest", "water") for n in range(10)}
    rows = [
        f"{sample_id if index % 2 else Path(sample_id).name},{group},x"
        for index, (sample_id, group) in enumerate(group_of.items())
    ]
    table = write_list(tmp_path / "groups.csv", ["file,group,note", *rows, "gone.png,scene9,x"])
    source = FolderSource(tmp_path / "images", split_by="group", group_csv=table, fractions=(0.6, 0.2, 0.2))
    assert sizes(source) == [{0: 6, 1: 6}, {0: 2, 1: 2}, {0: 2, 1: 2}]
    assert groups_are_apart(source, group_of)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,group", "forest_00.png,a"], r"has the columns name, group; it must have file and group"),
        (["file,group", "forest_00.png,a"], r"gives no group for 7 of 8 images, the first being forest/forest_01\.png"),
        (["file,group", "forest_00.png,a", "forest/forest_00.png,b"], r"puts forest/forest_00\.png into two groups"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    write_classes(tmp_path / "images", 4)
    table = write_list(tmp_path / "groups.csv", lines)
    with pytest.raises(DataError, match=message):
        FolderSource(tmp_path / "images", split_by="group", group_csv=table)


def test_blocks_keep_neighbours_within_one_split(tmp_path: Path) -> None:
    block_of = {}
    for label, name in enumerate(("forest", "water")):
        for number in range(40):
            block, offset = divmod(number, 4)
            place = from_origin(500_000 + 1000 * block + 200 * offset, 4_000_500 + 10 * label, 10, 10)
            sample_id = f"{name}/{number:02}.tif"
            write_tiff(tmp_path / sample_id, np.ones((1, 2, 2), "uint16"), crs="EPSG:32630", transform=place)
            block_of[sample_id] = str(block)
    source = FolderSource(tmp_path, split_by="block", block_size=1000, fractions=(0.6, 0.2, 0.2))
    assert sizes(source) == [{0: 24, 1: 24}, {0: 8, 1: 8}, {0: 8, 1: 8}]
    assert groups_are_apart(source, block_of)


def test_blocks_need_georeferenced_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"forest_00\.png is not a GeoTIFF"):
        FolderSource(write_classes(tmp_path, 4), split_by="block", block_size=1000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split_by": "group"}, r"needs one of data\.group_pattern and data\.group_csv"),
        ({"split_by": "group", "group_pattern": "a", "group_csv": "b"}, r"needs one of"),
        ({"split_by": "group", "group_pattern": "("}, r"data\.group_pattern is '\(', which is no regular expression"),
        ({"group_pattern": "a"}, r"needs data\.split_by=group"),
        ({"split_by": "block"}, r"needs data\.block_size"),
        ({"split_by": "scene"}, r"data\.split_by is scene; it must be sample, group or block"),
        ({"fold": 0}, r"data\.fold is 0 but data\.folds is not set"),
        ({"fold": 5, "folds": 5}, r"data\.fold is 5, but with 5 folds it must be from 0 to 4"),
        ({"fractions": (0.5, 0.5)}, r"data\.fractions is"),
        ({"split_seed": -1}, r"data\.split_seed is -1"),
    ],
)
def test_settings_that_contradict_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FolderSource(write_classes(tmp_path, 5), **settings)


def test_a_pattern_that_misses_paths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"matches nothing in 4 of 8 paths, the first being water/water_00\.png"):
        FolderSource(write_classes(tmp_path, 4), split_by="group", group_pattern=r"forest_\d")


def test_folds_share_the_test_set_and_partition_the_rest(tmp_path: Path) -> None:
    write_classes(tmp_path, 20)
    sources = [FolderSource(tmp_path, fold=fold, folds=4, fractions=(0.6, 0.2, 0.2)) for fold in range(4)]
    assert all(sizes(source) == [{0: 12, 1: 12}, {0: 4, 1: 4}, {0: 4, 1: 4}] for source in sources)
    assert all(ids(source, "test") == ids(sources[0], "test") for source in sources)
    vals = [sample_id for source in sources for sample_id in ids(source, "val")]
    assert sorted(vals) == sorted(ids(sources[0], "train") + ids(sources[0], "val"))


@pytest.mark.parametrize("with_val", [True, False])
def test_folds_divide_given_train_and_val_anew_and_keep_test(tmp_path: Path, with_val: bool) -> None:
    write_classes(tmp_path / "train", 6 if with_val else 9)
    if with_val:
        write_classes(tmp_path / "val", 3)
    write_classes(tmp_path / "test", 2)
    sources = [FolderSource(tmp_path, fold=fold, folds=3) for fold in range(3)]
    assert all(sizes(source) == [{0: 6, 1: 6}, {0: 3, 1: 3}, {0: 2, 1: 2}] for source in sources)
    assert len({sample_id for source in sources for sample_id in ids(source, "val")}) == 18
    assert all(sample_id.startswith("test/") for source in sources for sample_id in ids(source, "test"))


# --- split lists ------------------------------------------------------------------------------------------------------


def test_lists_give_the_splits_by_path_name_or_stem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_classes(tmp_path / "images", 3)
    lists: dict[Split, Path] = {
        "train": write_list(
            tmp_path / "train.txt", ["forest/forest_00.png", "", "water_00.png", "./water/water_01.jpg"]
        ),
        "val": write_list(tmp_path / "val.txt", ["forest_01.jpg", "water_02", "gone_1.jpg", "gone_2.jpg"]),
    }
    with caplog.at_level(logging.WARNING):
        source = FolderSource(root, split_lists=lists)
    assert ids(source, "train") == ["forest/forest_00.png", "water/water_00.png", "water/water_01.png"]
    assert ids(source, "val") == ["forest/forest_01.png", "water/water_02.png"]
    assert "val.txt lists 2 names without a file, of 4" in caplog.text
    assert "1 of 6 images are in no split list" in caplog.text
    with pytest.raises(DataError, match="has no test samples"):
        source.dataset("test")


def test_val_is_cut_from_the_train_list(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "images", 12)
    names = [f"{name}_{number:02}.png" for name in ("forest", "water") for number in range(10)]
    train = write_list(tmp_path / "train.txt", names)
    source = FolderSource(root, split_lists={"train": train}, fractions=(0.4, 0.1, 0.5))
    assert [sizes_of(source, split) for split in ("train", "val")] == [{0: 8, 1: 8}, {0: 2, 1: 2}]


def test_folds_divide_the_train_and_val_lists_anew(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "images", 6)
    numbers: dict[Split, list[int]] = {"train": [0, 1, 2], "val": [3], "test": [4]}
    lists = {
        split: write_list(tmp_path / f"{split}.txt", [f"{c}_{n:02}.png" for c in ("forest", "water") for n in chosen])
        for split, chosen in numbers.items()
    }
    sources = [FolderSource(root, split_lists=lists, fold=fold, folds=2) for fold in range(2)]
    assert all(sizes(source) == [{0: 2, 1: 2}, {0: 2, 1: 2}, {0: 1, 1: 1}] for source in sources)
    assert ids(sources[0], "val") == ids(sources[1], "train")
    assert ids(sources[0], "test") == ["forest/forest_04.png", "water/water_04.png"]


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (
            ["forest_00.png"],
            ["water_00.png", "forest/forest_00.png"],
            r"forest/forest_00\.png is listed for both train",
        ),
        (["forest_00.png"], ["same.png"], r"val\.txt lists same\.png, which may mean forest/same\.png or water/same"),
        (["forest_00.png"], ["a.png", "b.png"], r"None of the 2 names in .*val\.txt \(the first is a\.png\)"),
        (["forest_00.png"], [], r"None of the 0 names in .*val\.txt"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path: Path, train: list[str], val: list[str], message: str) -> None:
    root = write_classes(tmp_path / "images", 2)
    for name in ("forest", "water"):
        write_png(root / name / "same.png")
    lists: dict[Split, Path] = {
        "train": write_list(tmp_path / "train.txt", train),
        "val": write_list(tmp_path / "val.txt", val),
    }
    with pytest.raises(DataError, match=message):
        FolderSource(root, split_lists=lists)


def test_a_missing_list_is_refused_with_its_setting(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "images", 2)
    with pytest.raises(DataError, match=r"data\.split_lists\.train is .*gone\.txt, which cannot be opened"):
        FolderSource(root, split_lists={"train": tmp_path / "gone.txt"})


def test_lists_without_train_are_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "images", 2)
    with pytest.raises(ConfigError, match=r"data\.split_lists has val; it needs train"):
        FolderSource(root, split_lists={"val": tmp_path / "val.txt"})


def test_given_splits_exclude_groups_blocks_and_a_second_source_of_splits(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 3)
    write_classes(tmp_path / "test", 3)
    with pytest.raises(ConfigError, match=r"data\.split_by is group, but the folders below .* give the splits"):
        FolderSource(tmp_path, split_by="group", group_pattern=r"\d")
    with pytest.raises(ConfigError, match=r"data\.split_lists is set, but .* has folders for the splits"):
        FolderSource(tmp_path, split_lists={"train": tmp_path / "train.txt"})
