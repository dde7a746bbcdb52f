"""BigEarthNet: torchgeo's values and labels, bands by name, Sentinel-1 as it is, and patches that are damaged."""

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from miniatures import S2_SIDES, write_bigearthnet
from terrablate.config import parse
from terrablate.config.schema import Data
from terrablate.data.bigearthnet import BANDS, S2_BANDS
from terrablate.data.open_source import open_source, stamp
from terrablate.data.source import SPLITS, Source
from terrablate.errors import DataError

S2, S1 = "BigEarthNet-v1.0", "BigEarthNet-S1-v1.0"
FIRST = "S2A_MSIL2A_20170613T101031_87_0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "bigearthnet"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def data(compose_raw: Callable[..., DictConfig], root: Path) -> Callable[..., Data]:
    """The data section alone, whatever the objective."""

    def section(*overrides: str) -> Data:
        given = ("data=bigearthnet", f"data.root={root.parent}", *overrides)
        return parse(compose_raw(*given), reads_data=False).data

    return section


@pytest.fixture
def source(data: Callable[..., Data]) -> Callable[..., Source]:
    return lambda *overrides: open_source(data(*overrides))


@pytest.mark.parametrize("classes", [19, 43])
def test_the_samples_are_those_of_torchgeos_class(source: Callable[..., Source], root: Path, classes: int) -> None:
    from torchgeo.datasets import BigEarthNet

    write_bigearthnet(root, (3, 2, 1))
    found = source(f"data.num_classes={classes}")
    assert found.bands == S2_BANDS == tuple(S2_SIDES)
    assert found.classes == tuple(BigEarthNet.class_sets[classes])
    for split, count in zip(SPLITS, (3, 2, 1), strict=True):
        ours = found.dataset(split)
        theirs = BigEarthNet(str(root), split=split, bands="s2", num_classes=classes)
        assert len(ours) == count
        for index in range(count):
            sample, expected = ours[index], theirs[index]
            assert sample["image"].shape == (12, 120, 120)
            assert sample["image"].dtype.kind == "i"  # so that it is packed, and resized, as whole numbers
            assert np.array_equal(sample["image"], expected["image"].numpy())
            assert np.array_equal(sample["label"], expected["label"].numpy())


def test_a_label_is_a_vector_of_zeros_and_ones(source: Callable[..., Source], root: Path) -> None:
    write_bigearthnet(root, (3, 1, 1))
    for classes, expected in (
        (19, [{"Pastures"}, {"Inland waters", "Coniferous forest"}, {"Pastures", "Mixed forest"}]),
        (43, [{"Pastures"}, {"Water bodies", "Coniferous forest"}, {"Pastures", "Mixed forest", "Airports"}]),
    ):
        found = source(f"data.num_classes={classes}")
        dataset = found.dataset("train")
        labels = [np.asarray(dataset[index]["label"]) for index in range(3)]
        assert {(label.dtype.name, label.shape, label.max()) for label in labels} == {("uint8", (classes,), 1)}
        assert [{found.classes[place] for place in np.flatnonzero(label)} for label in labels] == expected


def test_a_sample_is_named_after_the_folder_of_its_patch(source: Callable[..., Source], root: Path) -> None:
    write_bigearthnet(root, (2, 1, 1), radar=True)
    assert source().dataset("train").ids[0] == f"{S2}/{FIRST}"
    assert source("data.bands=all").dataset("train").ids[0] == f"{S2}/{FIRST}"
    assert source("data.bands=[VV]").dataset("train").ids[0] == f"{S1}/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_0"


def test_bands_come_by_name_and_others_are_not_read(source: Callable[..., Source], root: Path) -> None:
    write_bigearthnet(root, (2, 1, 1))
    whole = source().dataset("train")[1]["image"]
    (root / S2 / FIRST.replace("_0", "_1") / f"{FIRST.replace('_0', '_1')}_B03.tif").unlink()
    image = source("data.bands=[B8A,B02]").dataset("train")[1]["image"]
    assert np.array_equal(image, whole[[S2_BANDS.index("B8A"), S2_BANDS.index("B02")]])


def test_sentinel_1_is_in_decibels_under_its_own_names(source: Callable[..., Source], root: Path) -> None:
    """Torchgeo cuts them to whole numbers, and reads VH, VV where it says VV, VH."""
    write_bigearthnet(root, (2, 1, 1), radar=True)
    assert source("data.bands=all").bands == BANDS
    image = source("data.bands=[VV,B02,VH]").dataset("train")[1]["image"]
    assert image.dtype == np.float32
    assert (image[0] == np.float32(-9.75)).all()
    assert (image[2] == np.float32(-16.25)).all()
    assert np.array_equal(image[1], source("data.bands=B02").dataset("train")[1]["image"][0])
    sample = source("data.bands=[VH]").dataset("val")[0]  # labels are read from Sentinel-1's folder then
    assert (sample["image"] == np.float32(-17.25)).all()
    assert np.asarray(sample["label"]).sum() == 2


def test_sentinel_1_is_not_needed_where_no_band_of_it_is_asked_for(source: Callable[..., Source], root: Path) -> None:
    write_bigearthnet(root, (1, 1, 1))
    assert len(source().dataset("train")) == 1
    with pytest.raises(DataError, match=r"^data.root: BigEarthNet is not complete in .*/bigearthnet; "):
        source("data.bands=all")


# --- what is wrong with a folder


def test_what_is_missing_is_refused(source: Callable[..., Source], root: Path) -> None:
    with pytest.raises(DataError, match=r"^data.root: BigEarthNet is not complete in .*data.download=true$"):
        source()
    write_bigearthnet(root, (1, 1, 1))
    (root / "bigearthnet-val.csv").unlink()
    with pytest.raises(DataError, match=r"^data.root: BigEarthNet is not complete in "):
        source()


def test_a_list_of_another_form_is_refused(source: Callable[..., Source], root: Path) -> None:
    write_bigearthnet(root, (1, 1, 1))
    (root / "bigearthnet-train.csv").write_text(f"{FIRST}\n")  # as published without Sentinel-1
    with pytest.raises(DataError, match=r"^data.root: BigEarthNet in .* cannot be opened: list index out of range"):
        source()


def damage(folder: Path, kind: str) -> None:
    labels = next(folder.glob("*.json"))
    band = folder / f"{folder.name}_B05.tif"
    match kind:
        case "no band":
            band.unlink()
        case "half a band":
            band.write_bytes(band.read_bytes()[:150])
        case "no labels":
            labels.unlink()
        case "other labels":
            labels.write_text('{"labels": ["Pastures", "Parking lots"]}')
        case "half the labels":
            labels.write_text('{"labels": ["Past')
        case "another key":
            labels.write_text('{"classes": []}')
        case "a list":
            labels.write_text('["Pastures"]')


@pytest.mark.parametrize(
    "kind", ["no band", "half a band", "no labels", "other labels", "half the labels", "another key", "a list"]
)
def test_a_damaged_patch_is_told_and_the_others_are_read(source: Callable[..., Source], root: Path, kind: str) -> None:
    write_bigearthnet(root, (2, 1, 1))
    damage(root / S2 / FIRST, kind)
    dataset = source().dataset("train")
    with pytest.raises((OSError, ValueError, DataError)) as refused:  # those that packing lists
        dataset[0]
    if kind in ("no labels", "other labels", "another key", "a list"):
        assert str(refused.value).startswith("its folder has no JSON file with labels of BigEarthNet (")
    assert dataset[1]["image"].shape == (12, 120, 120)


def test_a_download_is_fetched_and_verified(
    source: Callable[..., Source], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchgeo.datasets import BigEarthNet

    published = tmp_path / "published"
    write_bigearthnet(published, (2, 1, 1))
    with tarfile.open(published / "BigEarthNet-S2-v1.0.tar.gz", "w:gz") as archive:
        archive.add(published / S2, S2)

    def told(file: Path) -> dict[str, str]:
        return {"url": file.as_uri(), "filename": file.name, "md5": hashlib.md5(file.read_bytes()).hexdigest()}

    archived = {"s2": told(published / "BigEarthNet-S2-v1.0.tar.gz") | {"directory": S2}}
    lists = {split: told(published / f"bigearthnet-{split}.csv") for split in SPLITS}
    monkeypatch.setattr(BigEarthNet, "metadata", BigEarthNet.metadata | archived)
    monkeypatch.setattr(BigEarthNet, "splits_metadata", lists | {"val": lists["val"] | {"md5": "0" * 32}})
    with pytest.raises(DataError, match=r"^data.root: BigEarthNet in .* cannot be opened: "):
        source("data.download=true")
    monkeypatch.setattr(BigEarthNet, "splits_metadata", lists)
    found = source("data.download=true")
    assert [len(found.dataset(split)) for split in SPLITS] == [2, 1, 1]
    assert found.dataset("train")[0]["image"].shape == (12, 120, 120)
    assert len(source().dataset("train")) == 2  # without download, now that it is there


# --- the stamp


def test_a_patch_counts_by_its_folder(data: Callable[..., Data], root: Path) -> None:
    write_bigearthnet(root, (2, 1, 1))
    first = stamp(data())
    file = root / S2 / FIRST / f"{FIRST}_B05.tif"
    os.utime(file, ns=(5, 5))
    assert stamp(data()) == first  # of 7 million files it would take minutes
    os.utime(file.parent, ns=(5, 5))  # as when a file of it comes or goes
    second = stamp(data())
    assert second != first
    with (root / "bigearthnet-val.csv").open("a") as listed:
        listed.write("\n")
    assert stamp(data()) != second
