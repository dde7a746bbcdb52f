"""So2Sat: torchgeo's values by the names of the bands, its versions, and files that are not what they should be."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from miniatures import so2sat_values, write_so2sat, write_so2sat_file
from terrablate.config import Config
from terrablate.data.open_source import open_source
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.so2sat import BANDS, S1_BANDS, S2_BANDS
from terrablate.data.source import SPLITS, Source, Split
from terrablate.errors import DataError

Compose = Callable[..., Config]

VERSION_3 = ("data.version=3_block", "data.val_fraction=0.25")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "so2sat"


@pytest.fixture
def source(compose: Compose, root: Path) -> Callable[..., Source]:
    def opened(*overrides: str) -> Source:
        given = ("data=so2sat", f"data.root={root.parent}", "data.checksum=false", *overrides)
        return open_source(compose(*given).data)

    return opened


@pytest.fixture
def pack(compose: Compose, root: Path) -> Callable[..., Pack]:
    def packed(*overrides: str, splits: tuple[Split, ...] = ("train", "val")) -> Pack:
        config = compose("data=so2sat", f"data.root={root.parent}", "data.checksum=false", *overrides)
        return ensure_pack(config.data, Path(config.packs_dir), splits)

    return packed


def test_the_samples_are_those_of_torchgeos_class(source: Callable[..., Source], root: Path) -> None:
    from torchgeo.datasets import So2Sat

    write_so2sat(root)
    found = source("data.bands=all")
    assert found.bands == BANDS
    assert found.classes == So2Sat.classes
    for split, theirs, file in zip(
        SPLITS, ("train", "validation", "test"), ("training", "validation", "testing"), strict=True
    ):
        ours, dataset = found.dataset(split), So2Sat(str(root), split=theirs, checksum=False)
        assert len(ours) == len(dataset) == {"train": 24, "val": 12, "test": 6}[split]
        assert ours.ids[:2] == [f"{file}/000000", f"{file}/000001"]
        assert len(set(ours.ids)) == len(ours)
        for index in (0, 1, len(ours) - 1):
            assert np.array_equal(ours[index]["image"], dataset[index]["image"].numpy())
            assert ours[index]["label"] == dataset[index]["label"] == index % 3


def test_the_bands_are_torchgeos_under_the_names_that_sentinel_2_has_elsewhere() -> None:
    from torchgeo.datasets import So2Sat

    assert So2Sat.all_s1_band_names == S1_BANDS
    assert tuple(f"S2_{band}" for band in S2_BANDS) == So2Sat.all_s2_band_names


def test_the_ten_bands_of_sentinel_2_are_the_default(source: Callable[..., Source], root: Path) -> None:
    write_so2sat(root)
    found = source()
    assert found.bands == S2_BANDS
    expected = so2sat_values(24)["sen2"][5].transpose(2, 0, 1)
    assert np.array_equal(found.dataset("train")[5]["image"], expected.astype(np.float32))


def test_bands_come_in_the_order_asked_for_whatever_their_sensor(source: Callable[..., Source], root: Path) -> None:
    write_so2sat(root)
    values = so2sat_values(24)
    image = source("data.bands=[B12,S1_B6,B02,S1_B1]").dataset("train")[7]["image"]
    expected = [
        values["sen2"][7, :, :, 9],
        values["sen1"][7, :, :, 5],
        values["sen2"][7, :, :, 0],
        values["sen1"][7, :, :, 0],
    ]
    assert np.array_equal(image, np.stack(expected).astype(np.float32))
    assert source("data.bands=rgb").bands == ("B04", "B03", "B02")
    radar = source("data.bands=[S1_B6,S1_B5]").dataset("train")[7]["image"]
    assert np.array_equal(radar, values["sen1"][7, :, :, [5, 4]].astype(np.float32))


def test_reflectance_is_packed_as_it_is_and_the_network_sees_it_undivided(
    pack: Callable[..., Pack], compose: Compose, root: Path
) -> None:
    write_so2sat(root)
    found = pack()
    assert found.images("train").dtype == np.float32
    assert np.array_equal(found.images("train"), so2sat_values(24)["sen2"].transpose(0, 3, 1, 2).astype(np.float32))
    assert found.labels("train").tolist() == [row % 3 for row in range(24)]
    assert found.mean == pytest.approx(np.full(10, 0.2), abs=0.01)
    assert compose("data=so2sat", f"data.root={root.parent}").data.scale == 1


def test_reflectance_is_not_rounded_where_images_are_resized(pack: Callable[..., Pack], root: Path) -> None:
    write_so2sat(root)
    found = pack("data.image_size=16")
    assert found.images("train").shape == (24, 10, 16, 16)
    assert found.mean == pytest.approx(np.full(10, 0.2), abs=0.01)


# --- versions


@pytest.mark.parametrize("version", ["3_random", "3_block", "3_culture_10"])
def test_version_3_gives_a_part_of_train_to_val(source: Callable[..., Source], root: Path, version: str) -> None:
    write_so2sat(root, version)
    found = source(f"data.version={version}", "data.val_fraction=0.25")
    ids = {split: list(found.dataset(split).ids) for split in SPLITS}
    assert {split: len(names) for split, names in ids.items()} == {"train": 18, "val": 6, "test": 6}
    assert sorted(ids["train"] + ids["val"]) == [f"training/{row:06d}" for row in range(24)]
    val = found.dataset("val")
    assert [val[index]["label"] for index in range(6)] == [int(name[-6:]) % 3 for name in val.ids]
    assert np.bincount([int(val[index]["label"]) for index in range(6)]).tolist() == [2, 2, 2]
    values = so2sat_values(24)["sen2"][int(val.ids[4][-6:])]
    assert np.array_equal(val[4]["image"], values.transpose(2, 0, 1).astype(np.float32))


def test_the_split_seed_draws_val_of_version_3_and_is_idle_in_version_2(
    source: Callable[..., Source], root: Path
) -> None:
    write_so2sat(root, "3_block")
    drawn = [source(*VERSION_3, f"data.split_seed={seed}").dataset("val").ids for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    write_so2sat(root)
    assert source("data.split_seed=1").dataset("val").ids == source().dataset("val").ids


def test_a_version_reads_its_own_files(source: Callable[..., Source], root: Path) -> None:
    write_so2sat(root, "3_block")
    with pytest.raises(DataError, match=r"no file .*/so2sat/training.h5; put the files of data.version=2 of So2Sat"):
        source()
    with pytest.raises(DataError, match=r"no file .*/so2sat/random/training.h5; "):
        source("data.version=3_random", "data.val_fraction=0.1")


def test_a_file_is_opened_and_verified_once_for_the_splits_that_share_it(
    source: Callable[..., Source], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchgeo.datasets import So2Sat

    write_so2sat(root, "3_block")
    verified: list[str] = []
    monkeypatch.setattr(So2Sat, "_check_integrity", lambda self: bool(verified.append(self.fn) or True))
    found = source(*VERSION_3)
    assert verified == []  # to list the classes takes no reading of 50 GB
    for split in ("train", "val", "train"):
        found.dataset(split)
    assert verified == [str(root / "block" / "training.h5")]


# --- what is wrong with a file


def test_the_published_md5_is_compared(
    source: Callable[..., Source], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchgeo.datasets import So2Sat

    write_so2sat(root)
    with pytest.raises(
        DataError, match=r"/training.h5 is not the file that was published, .*data.checksum=false"
    ) as refused:
        source("data.checksum=true").dataset("train")
    assert "\n" not in str(refused.value)
    sums = {"train": hashlib.md5((root / "training.h5").read_bytes()).hexdigest()}
    monkeypatch.setitem(So2Sat.md5s_by_version, "2", sums)
    assert len(source("data.checksum=true").dataset("train")) == 24


def without(name: str) -> dict[str, object]:
    return {key: values for key, values in so2sat_values(6).items() if key != name}


WRONG = {
    "sen1": (without("sen1"), "has no array sen1; So2Sat has sen1, sen2 and label"),
    "label": (without("label"), "has no array label; So2Sat has"),
    "bands": (
        so2sat_values(6) | {"sen2": np.zeros((6, 32, 32, 13))},
        r"has the array sen2 of shape \(6, 32, 32, 13\), So2Sat's is \(6, 32, 32, 10\)",
    ),
    "count": (so2sat_values(6) | {"sen1": so2sat_values(5)["sen1"]}, "has the array sen1 of shape"),
    "numbers": (so2sat_values(6) | {"label": np.zeros(6)}, r"has the array label of shape \(6,\)"),
    "unlabelled": (
        so2sat_values(6) | {"label": np.zeros((6, 17))},
        "has 6 rows of label without one class, first row 0",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_of_another_layout_is_refused(source: Callable[..., Source], root: Path, wrong: str) -> None:
    arrays, message = WRONG[wrong]
    write_so2sat(root)
    write_so2sat_file(root / "training.h5", arrays)
    with pytest.raises(DataError, match=rf"^data.root: .*/so2sat/training.h5 {message}"):
        source().dataset("train")


@pytest.mark.parametrize("kept", [0, 100, 5000, -10])
def test_a_truncated_file_is_refused(pack: Callable[..., Pack], root: Path, kept: int) -> None:
    write_so2sat(root)
    file = root / "validation.h5"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"^data.root: .*/so2sat/validation.h5 cannot be read as HDF5: ") as refused:
        pack()
    assert "\n" not in str(refused.value)


def test_a_chip_that_cannot_be_read_is_named(pack: Callable[..., Pack], root: Path) -> None:
    write_so2sat(root)
    values = so2sat_values(24)
    values["sen2"][3, 0, 0, 0] = np.nan
    write_so2sat_file(root / "training.h5", values)
    with pytest.raises(
        DataError, match=r"1 images cannot be read; .*\ntraining/000003: has values that are not finite"
    ):
        pack()
    assert len(pack("data.on_error=skip").images("train")) == 23


def test_a_damaged_block_of_a_file_names_its_chips(pack: Callable[..., Pack], root: Path) -> None:
    write_so2sat(root)
    with h5py.File(root / "training.h5", "a") as opened:
        values = opened["sen2"][()]
        del opened["sen2"]
        opened.create_dataset("sen2", data=values, chunks=(1, 32, 32, 10), fletcher32=True)
        place = opened["sen2"].id.get_chunk_info(2).byte_offset
    with (root / "training.h5").open("r+b") as raw:
        raw.seek(place + 40)
        raw.write(b"\xff\xff\xff\xff")
    with pytest.raises(DataError, match=r"1 images cannot be read; .*\ntraining/000002: "):
        pack()
