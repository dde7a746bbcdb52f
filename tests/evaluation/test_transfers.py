"""Other data with the same classes: matched by name, standardised as in training, counted as an opening."""

from pathlib import Path

import numpy as np
import pytest

from chip_folders import write_png, write_tiff
from evaluations import SMALL, evaluate, read, records_of, register_of, rows, tiny, train
from helpers import compose_in
from terrablate.config.schema import Data
from terrablate.data.open_source import open_source
from terrablate.data.pack import Pack
from terrablate.errors import ConfigError, DataError
from terrablate.evaluation.data import match_bands, match_classes

ORDER = [12, 3, 2, 1, 0, 4, 5, 6, 7, 8, 9, 10, 11]
"""Bands as the folder of this test has them, by their number in the data that were trained on."""


def write_other_sensor(home: Path) -> list[str]:
    """The test images of the study once more: as GeoTIFFs in folders of other names, other band order, other scale."""
    data = tiny(home).data
    source = open_source(data)
    test = source.dataset("test")
    root = home / "region"
    for number in range(len(test)):
        sample = test[number]
        assert isinstance(sample["label"], int | np.integer)
        name = source.classes[sample["label"]]
        name = name.upper() if sample["label"] % 2 else name.lower()  # sorted in another order, capitals first
        pixels = (sample["image"][ORDER] * 2).astype(np.uint16)
        write_tiff(root / "test" / name / f"{number:03}.tif", pixels)
        write_tiff(root / "train" / name / f"{number:03}.tif", pixels)
    assert [path.name.casefold() for path in sorted((root / "test").iterdir())] != [
        c.casefold() for c in source.classes
    ]
    names = [source.bands[number] for number in ORDER]
    return [
        "data=folder", "data.name=region", f"data.root={root}", f"data.band_names=[{','.join(names)}]",
        "data.scale=20000", "data.rgb=[B04,B03,B02]",
    ]  # fmt: skip


def test_another_order_of_bands_and_classes_and_another_scale_change_no_prediction(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny")
    evaluate(home, "study=tiny", *write_other_sensor(home))
    for folder in records_of(study).values():
        own, other = (np.load(folder / f"{name}_predictions.npz") for name in ("test", "transfer-region"))
        number = [int(Path(each).stem) for each in other["ids"]]
        assert sorted(number) == list(range(23))
        np.testing.assert_allclose(other["logits"], own["logits"][number], rtol=1e-3, atol=1e-4)
        assert other["labels"].tolist() == own["labels"][number].tolist()
        content = read(folder / "transfer-region.json")
        assert content["accuracy"] == read(folder / "test.json")["accuracy"]
        assert (content["data"], content["trained_on"], content["opening"]) == ("region", "synthetic", 1)
    assert {row["transfer.accuracy"] for row in rows(study / "transfer-region.csv")}
    for register, data in (("test", "synthetic"), ("transfer", "region")):
        assert [(line["data"], line["count"]) for line in register_of(study, register)] == [(data, "1")]


def test_a_transfer_is_counted_by_itself_and_leaves_test_alone(home: Path, study: Path) -> None:
    words = ("data=synthetic", "data.name=elsewhere", "data.split_seed=7", "data.train=20", "data.val=10")
    words += ("data.test=13", "data.size=16")
    folder = records_of(study)["plain", 0]
    for split, images in (("test", 13), ("val", 10), ("all", 43), ("test", 13)):
        evaluate(home, f"run={folder}", *words, f"split={split}")
        stem = "transfer-elsewhere" + ("" if split == "test" else f"-{split}")
        assert read(folder / f"{stem}.json")["images"] == images
    assert [(line["split"], line["count"]) for line in register_of(folder, "transfer")] == [
        ("test", "1"), ("val", "1"), ("all", "1"), ("test", "2"),
    ]  # fmt: skip
    assert not (folder / "test.json").exists()


def test_images_are_resized_to_those_of_the_run_and_standardised_as_in_training(home: Path, study: Path) -> None:
    folder = records_of(study)["plain", 0]
    words = ("data=synthetic", "data.name=large", "data.train=20", "data.val=10", "data.test=12", "data.size=32")
    evaluate(home, f"run={folder}", *words)
    assert np.load(folder / "transfer-large_predictions.npz")["logits"].shape == (12, 10)
    with pytest.raises(ConfigError, match=r"data.image_size=32: the run has learnt from images of 16 pixels"):
        evaluate(home, f"run={folder}", *words, "data.image_size=32")


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (
            ["data=synthetic", "data.bands=rgb"],
            DataError,
            r"lacks the bands B01, B05, .* it has B04, B03",
        ),
        (["data=synthetic_multilabel"], ConfigError, r"data.labels=several, and the run's .* data.labels=one"),
        (["data=eurosat", "data.root=/nowhere"], ConfigError, r"data.root=/nowhere: there is no folder"),
    ],
)
def test_other_data_that_do_not_fit_are_refused_before_they_are_opened(
    home: Path, study: Path, words: list[str], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        evaluate(home, "study=tiny", *words)
    assert register_of(study, "transfer") == []


def test_classes_that_the_run_does_not_know_are_refused_with_both_lists(home: Path, study: Path) -> None:
    root = home / "chips"
    for split in ("train", "test"):
        for name in ("forest", "Moon"):
            for number in range(4):
                write_png(root / split / name / f"{number}.png")
    with pytest.raises(DataError, match=r"does not know the classes Moon; it was trained on .*, and the other .* Moon"):
        evaluate(home, "study=tiny", "data=folder", f"data.root={root}")
    assert register_of(study, "transfer") == []


def test_figures_of_other_data_with_the_same_name_are_not_lost(home: Path, study: Path) -> None:
    words = write_other_sensor(home)
    folder = records_of(study)["plain", 0]
    evaluate(home, f"run={folder}", *words)
    (home / "region").rename(home / "moved")
    with pytest.raises(ConfigError, match=r"data.name=region: .*transfer-region.json holds the figures on .*region;"):
        evaluate(home, f"run={folder}", *words, f"data.root={home / 'moved'}")


# --- matching


def test_classes_are_matched_by_name_whatever_their_case_and_separators() -> None:
    ours = ["Annual Crop", "Forest", "SeaLake"]
    assert match_classes(["sea_lake", "annualcrop"], ours, "b", "a") == [2, 0]
    with pytest.raises(DataError, match="does not know the classes Highway"):
        match_classes(["Forest", "Highway"], ours, "b", "a")


def test_bands_are_matched_by_what_they_are(home: Path) -> None:
    def data(*words: str) -> Data:
        return compose_in(home, *SMALL, *words).data

    eurosat = data("data=synthetic")
    folder = data("data=folder", f"data.root={home}")
    all_bands = eurosat.band_names
    assert all_bands is not None
    assert match_bands(all_bands, eurosat, ["red", "green", "blue"], folder) == [3, 2, 1]
    assert match_bands(["red", "green", "blue"], folder, ["B02", "B04"], eurosat) == [2, 0]
    assert match_bands(["B4", "B3"], eurosat, ["B04", "B03"], eurosat) is None
    with pytest.raises(DataError, match="lacks the bands B08 of the run; it has red, green, blue"):
        match_bands(["red", "green", "blue"], folder, ["B04", "B08"], eurosat)


# --- images of one's own


def write_lists(folder: Path) -> list[str]:
    """Chips of two classes with a list of train and one of val; those of test are listed apart."""
    rng = np.random.default_rng(0)
    chosen: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(("forest", "water")):
        for number in range(18):
            split = "train" if number < 10 else "val" if number < 14 else "test"
            chosen[split].append(f"{name}/{name}{number}.tif")
            pixels = rng.integers(50 + 80 * label, 120 + 80 * label, (3, 16, 16)).astype(np.uint8)
            write_tiff(folder / chosen[split][-1], pixels)
    for split, names in chosen.items():
        (folder / f"{split}.txt").write_text("\n".join(names) + "\n")
    return ["data=folder", f"data.root={folder}", "data.train_list=train.txt", "data.val_list=val.txt"]


def test_a_test_list_may_be_given_when_test_is_opened(tmp_path: Path) -> None:
    words = write_lists(tmp_path / "chips")
    record = train(tmp_path, *words)
    with pytest.raises(DataError, match=r"has no test samples.*data.test_list"):
        evaluate(tmp_path, f"run={record.folder}")
    assert register_of(record.folder) == []
    evaluate(tmp_path, f"run={record.folder}", "data.test_list=test.txt")
    found = np.load(record.folder / "test_predictions.npz")
    assert sorted(found["ids"]) == sorted((tmp_path / "chips" / "test.txt").read_text().split())
    assert len(found["labels"]) == 8


def test_data_that_have_moved_are_found_by_root(tmp_path: Path) -> None:
    words = write_lists(tmp_path / "chips")
    record = train(tmp_path, *words, "data.test_list=test.txt")
    (tmp_path / "chips").rename(tmp_path / "there")
    for pack in (tmp_path / "packs").iterdir():
        if pack.is_dir():
            pack.rename(tmp_path / pack.name)
    with pytest.raises(ConfigError, match=r"data.root=.*chips: there is no folder"):
        evaluate(tmp_path, f"run={record.folder}")
    evaluate(tmp_path, f"run={record.folder}", f"data.root={tmp_path / 'there'}")
    assert read(record.folder / "test.json")["images"] == 8


def test_images_of_test_that_are_in_val_are_refused(home: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Pack.ids
    monkeypatch.setattr(Pack, "ids", lambda pack, split: [name.replace("test", "val") for name in stored(pack, split)])
    with pytest.raises(DataError, match=r"20 images of test are in train or val, such as val-00000"):
        evaluate(home, "study=tiny")
    assert not list(home.rglob("test.json"))


def test_names_that_are_those_of_training_images_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = write_lists(tmp_path / "chips")
    record = train(tmp_path, *words)
    evaluate(tmp_path, f"run={record.folder}", *words, "data.name=same", "split=train")
    assert "20 of 20 images are called like one of its training images" in caplog.text
    assert read(record.folder / "transfer-same-train.json")["shared_names"] == 20
