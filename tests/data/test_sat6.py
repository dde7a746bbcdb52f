"""SAT-6 from MATLAB's file of either version: its chips, its splits, and files that are not what they should be."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchgeo.datasets import DatasetNotFoundError

from miniatures import sat6_values, write_sat6, write_sat6_hdf5
from terrablate.config import Config
from terrablate.data import sat6_file
from terrablate.data.open_source import open_source
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.sat6_file import Sat6
from terrablate.data.source import SPLITS, Source
from terrablate.errors import DataError

Compose = Callable[..., Config]
WRITERS = [write_sat6, write_sat6_hdf5]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sat6"


@pytest.fixture
def source(compose: Compose, root: Path) -> Callable[..., Source]:
    return lambda *overrides: open_source(compose("data=sat6", f"data.root={root.parent}", *overrides).data)


@pytest.fixture
def pack(compose: Compose, root: Path) -> Callable[..., Pack]:
    def packed(*overrides: str) -> Pack:
        config = compose("data=sat6", f"data.root={root.parent}", *overrides)
        return ensure_pack(config.data, Path(config.packs_dir))

    return packed


# --- the class in torchgeo's style


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_chips_and_labels_are_those_of_the_file(root: Path, write: Callable[[Path], Path], split: str) -> None:
    write(root)
    values = sat6_values()
    dataset = Sat6(root, split)
    assert len(dataset) == {"train": 48, "test": 12}[split]
    for index in (0, 7, len(dataset) - 1):
        sample = dataset[index]
        expected = values[f"{split}_x"][:, :, :, index].transpose(2, 0, 1)
        assert sample["image"].dtype == torch.float32
        assert np.array_equal(sample["image"].numpy(), expected)  # rows are rows: 28 x 28 is square, and not symmetric
        assert sample["label"] == index % 6
    assert Sat6.classes[3] == "grassland"


def test_transforms_are_applied_and_a_chip_is_plotted(root: Path) -> None:
    from matplotlib import pyplot as plt

    write_sat6(root)
    dataset = Sat6(root, transforms=lambda sample: sample | {"prediction": torch.tensor(5)})
    sample = dataset[1]
    figure = dataset.plot(sample, suptitle="SAT-6")
    assert figure.axes[0].get_title() == "Label: barren_land\nPrediction: water"
    shown = figure.axes[0].images[0].get_array()
    assert np.array_equal(np.asarray(shown), sat6_values()["train_x"][:, :, :3, 1])
    assert dataset.plot(sample, show_titles=False).axes[0].get_title() == ""
    plt.close("all")


def test_an_absent_file_is_torchgeos_error(root: Path) -> None:
    with pytest.raises(DatasetNotFoundError):
        Sat6(root)


# --- the source


@pytest.mark.parametrize("write", WRITERS)
def test_val_is_a_stratified_part_of_train(
    source: Callable[..., Source], root: Path, write: Callable[[Path], Path]
) -> None:
    write(root)
    found = source("data.val_fraction=0.25")
    assert found.bands == ("red", "green", "blue", "nir")
    ids = {split: list(found.dataset(split).ids) for split in SPLITS}
    assert sorted(ids["train"] + ids["val"]) == [f"train/{row:06d}" for row in range(48)]
    assert ids["test"] == [f"test/{row:06d}" for row in range(12)]
    val = found.dataset("val")
    labels = [int(val[index]["label"]) for index in range(len(val))]
    assert labels == [int(name[-6:]) % 6 for name in val.ids]
    assert np.bincount(labels).tolist() == [2] * 6
    row = int(val.ids[5][-6:])
    assert val[5]["image"].dtype == np.uint8
    assert np.array_equal(val[5]["image"], sat6_values()["train_x"][:, :, :, row].transpose(2, 0, 1))


def test_val_fraction_and_split_seed_turn(source: Callable[..., Source], root: Path) -> None:
    write_sat6(root)
    assert len(source("data.val_fraction=0.5").dataset("val")) == 24
    drawn = [source("data.val_fraction=0.25", f"data.split_seed={seed}").dataset("val").ids for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert source("data.split_seed=1").dataset("test").ids == source().dataset("test").ids


def test_bands_are_selected_by_name(source: Callable[..., Source], root: Path) -> None:
    write_sat6(root)
    image = source("data.bands=[nir,red]").dataset("test")[4]["image"]
    assert np.array_equal(image, sat6_values()["test_x"][:, :, [3, 0], 4].transpose(2, 0, 1))
    assert source("data.bands=rgb").bands == ("red", "green", "blue")


@pytest.mark.parametrize("write", WRITERS)
def test_the_file_is_read_once_and_packed_as_bytes(
    pack: Callable[..., Pack], root: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root)
    reads: list[list[str]] = []
    read = sat6_file._read
    monkeypatch.setattr(sat6_file, "_read", lambda file, names: (reads.append(names), read(file, names))[1])
    found = pack("data.val_fraction=0.25")
    assert reads == [["train_x", "train_y"]]  # for both splits; test stays locked
    assert found.images("train").dtype == np.uint8
    assert found.images("train").shape == (36, 4, 28, 28)
    rows = [int(name[-6:]) for name in found.ids("train")]
    assert np.array_equal(found.images("train"), sat6_values()["train_x"].transpose(3, 2, 0, 1)[rows])
    assert found.labels("train").tolist() == [row % 6 for row in rows]


def test_both_versions_of_the_file_give_the_same_pack(pack: Callable[..., Pack], root: Path) -> None:
    write_sat6(root, compressed=False)
    first = pack().fingerprint
    write_sat6_hdf5(root)
    assert pack().fingerprint == first


# --- what is wrong with a file


def test_the_sum_that_is_given_is_compared(source: Callable[..., Source], root: Path) -> None:
    file = write_sat6(root)
    true = hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(source(f"data.sha256={true.upper()}").dataset("test")) == 12
    with pytest.raises(DataError, match=r"^data.sha256=b{64}: .*/sat-6-full.mat has another one; fetch it again, or"):
        source(f"data.sha256={'b' * 64}").dataset("test")


def test_a_missing_file_is_refused(source: Callable[..., Source], root: Path) -> None:
    root.mkdir(parents=True)
    with pytest.raises(DataError, match=r"^data.root: there is no file .*/sat6/sat-6-full.mat; put SAT-6 there"):
        source()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kept", [0, 60, 127, 300, 2000, 100_000])
def test_a_truncated_file_is_refused(
    source: Callable[..., Source], root: Path, write: Callable[[Path], Path], kept: int
) -> None:
    file = write(root)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"^data.root: .*/sat-6-full.mat cannot be read as a MATLAB file; ") as refused:
        source().dataset("train")
    assert "\n" not in str(refused.value)


def test_a_file_with_damaged_bytes_is_refused(source: Callable[..., Source], root: Path) -> None:
    file = write_sat6(root)
    content = bytearray(file.read_bytes())
    content[5000:5100] = bytes(100)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"^data.root: .*/sat-6-full.mat cannot be read as a MATLAB file; "):
        source().dataset("train")


WRONG = {
    "train_y": (None, "has no variable train_y; SAT-6 has train_x, train_y, test_x, test_y"),
    "train_x": (
        np.zeros((28, 28, 3, 48), np.uint8),
        r"has train_x of shape \(28, 28, 3, 48\) and type uint8, SAT-6's is 28,28,4,N of uint8",
    ),
    "train_x ": (np.zeros((28, 28, 4, 48)), r"has train_x of shape .* and type float64, "),
    "train_y ": (np.eye(4, dtype=np.uint8)[:, np.arange(48) % 4], r"has train_y of shape \(4, 48\), SAT-6's is 6,48"),
    "train_y  ": (np.ones((6, 48), np.uint8), "has 48 columns of train_y without one class, first column 0"),
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", WRONG)
def test_a_file_of_another_layout_is_refused(
    source: Callable[..., Source], root: Path, write: Callable[..., Path], name: str
) -> None:
    values, message = WRONG[name]
    variables = {key: array for key, array in sat6_values().items() if key != name.strip()}
    write(root, variables if values is None else variables | {name.strip(): values})
    with pytest.raises(DataError, match=rf"^data.root: .*/sat-6-full.mat {message}"):
        source().dataset("train")
