"""From a config to a source, and the stamp that notices a changed source."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image

from terrablate.config import Config, parse
from terrablate.data.open_source import open_source, pack_key, pack_spec, stamp
from terrablate.errors import DataError

Compose = Callable[..., Config]
ComposeRaw = Callable[..., DictConfig]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(12):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(file)
    return tmp_path / "images"


def test_the_synthetic_source_follows_its_settings(compose: Compose) -> None:
    source = open_source(compose("data.bands=[B8A,B02]", "data.train=30", "data.size=20").data)
    dataset = source.dataset("train")
    assert source.bands == ("B8A", "B02")
    assert len(source.classes) == 10
    assert (len(dataset), len(source.dataset("val"))) == (30, 20)
    assert dataset[0]["image"].shape == (2, 20, 20)
    other = open_source(compose("data.bands=[B8A,B02]", "data.size=20", "data.split_seed=1").data).dataset("train")
    assert not np.array_equal(other[0]["image"], dataset[0]["image"])
    seeded = open_source(compose("data.bands=[B8A,B02]", "data.size=20", "seed=1").data).dataset("train")
    assert np.array_equal(seeded[0]["image"], dataset[0]["image"])  # the training seed draws no scenes


def test_the_folder_source_follows_its_settings(compose: Compose, root: Path) -> None:
    (root / "t.txt").write_text("a/0.png\nb/1.png\n")
    (root / "v.txt").write_text("a/2.png\nb/3.png\n")
    (root / "e.txt").write_text("a/4.png\n")
    lists = ["data.train_list=t.txt", f"data.val_list={root / 'v.txt'}", "data.test_list=e.txt"]
    source = open_source(compose("data=folder", f"data.root={root}", "data.bands=[blue]", *lists).data)
    assert source.bands == ("blue",)
    assert source.classes == ("a", "b")
    ids = [list(source.dataset(split).ids) for split in ("train", "val", "test")]
    assert ids == [["a/0.png", "b/1.png"], ["a/2.png", "b/3.png"], ["a/4.png"]]


def test_a_folder_below_the_root_is_opened(compose: Compose, root: Path) -> None:
    source = open_source(compose("data=folder", f"data.root={root.parent}", "data.subfolder=images").data)
    assert source.classes == ("a", "b")


def test_the_spec_of_a_pack_leaves_out_where_the_data_are_and_how_they_are_used(compose: Compose, root: Path) -> None:
    base = ["data=folder", f"data.root={root}"]
    spec = pack_spec(compose(*base).data)
    for same in (
        "data.scale=7", "data.offset=3", "data.train_per_class=2", "data.val_per_class=2", "data.normalize=none",
        "data.storage=ram", "seed=5", "batch_size=3",
    ):  # fmt: skip
        assert pack_spec(compose(*base, same).data) == spec
    for other in (
        "data.bands=rgb", "data.image_size=16", "data.split_seed=3", "data.fractions=[0.5,0.5,0]", "data.on_error=skip",
        "data.split_by=group data.group_pattern=x",
    ):  # fmt: skip
        assert pack_spec(compose(*base, *other.split(" ")).data) != spec


def test_the_split_seed_decides_on_a_pack_only_where_splits_are_computed(compose: Compose, root: Path) -> None:
    given = ["data=folder", f"data.root={root}", "data.train_list=t", "data.val_list=v"]
    assert pack_spec(compose(*given).data) == pack_spec(compose(*given, "data.split_seed=1").data)
    folded = [*given, "data.fold=0", "data.folds=2"]
    assert pack_spec(compose(*folded).data) != pack_spec(compose(*folded, "data.split_seed=1").data)
    eurosat = ["data=eurosat", f"data.root={root}", "data.download=true"]
    assert pack_spec(compose(*eurosat).data) == pack_spec(compose(*eurosat, "data.split_seed=1").data)


def test_the_split_seed_decides_on_the_packs_of_sources_that_draw_splits(compose_raw: ComposeRaw) -> None:
    def differs(name: str, *overrides: str) -> bool:
        specs = [
            pack_spec(parse(compose_raw(f"data={name}", seed, *overrides), reads_data=False).data)
            for seed in ("data.split_seed=0", "data.split_seed=1")
        ]
        return specs[0] != specs[1]

    assert differs("patternnet")
    assert differs("sat6")
    assert differs("so2sat", "data.version=3_block", "data.val_fraction=0.1")
    assert not differs("so2sat")
    assert not differs("bigearthnet")


def test_where_and_how_a_published_set_is_verified_is_not_part_of_its_pack(compose_raw: ComposeRaw) -> None:
    def spec(*overrides: str) -> dict[str, object]:
        return pack_spec(parse(compose_raw(*overrides), reads_data=False).data)

    for name, same, other in (
        ("sat6", f"data.sha256={'a' * 64}", "data.val_fraction=0.2"),
        ("so2sat", "data.checksum=false", "data.version=3_block data.val_fraction=0.1"),
        ("patternnet", "data.checksum=false", "data.fractions=[0.5,0.5,0]"),
        ("bigearthnet", "data.download=true", "data.num_classes=43"),
    ):
        assert spec(f"data={name}", same) == spec(f"data={name}")
        assert spec(f"data={name}", *other.split()) != spec(f"data={name}")


def test_the_stamp_is_of_names_sizes_and_times(compose: Compose, root: Path) -> None:
    data = compose("data=folder", f"data.root={root}").data
    first = stamp(data)
    assert stamp(data) == first
    assert first is not None
    assert pack_key(data, first).startswith("folder-")
    os.utime(root / "a" / "0.png", ns=(5, 5))
    assert stamp(data) != first


def test_hidden_files_and_folders_do_not_count_and_dead_links_do_no_harm(compose: Compose, root: Path) -> None:
    data = compose("data=folder", f"data.root={root}").data
    first = stamp(data)
    (root / ".cache").mkdir()
    (root / ".cache" / "x").touch()
    (root / "a" / ".DS_Store").touch()
    assert stamp(data) == first
    (root / "a" / "dead.png").symlink_to(root / "nowhere.png")
    assert stamp(data) != first


def test_a_list_or_table_outside_of_the_root_counts(compose: Compose, root: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n")
    data = compose("data=folder", f"data.root={root}", "data.split_by=group", f"data.group_csv={table}").data
    first = stamp(data)
    table.write_text("file,group\na/0.png,1\n")
    assert stamp(data) != first


def test_an_absent_source_has_no_stamp(compose: Compose, tmp_path: Path) -> None:
    assert stamp(compose("data=eurosat", f"data.root={tmp_path / 'no'}", "data.download=true").data) is None


def test_a_source_that_is_incomplete_is_refused(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "eurosat").mkdir()
    with pytest.raises(DataError, match=r"data.root: EuroSAT is not complete in .*/eurosat; .*data.download=true"):
        open_source(compose("data=eurosat", f"data.root={tmp_path}").data)
