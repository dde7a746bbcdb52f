"""PatternNet: torchgeo's class with splits that are drawn here."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from miniatures import write_patternnet
from terrablate.config import Config
from terrablate.data.open_source import open_source
from terrablate.data.pack import ensure_pack
from terrablate.data.source import SPLITS, Source
from terrablate.errors import DataError

Compose = Callable[..., Config]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "patternnet"


@pytest.fixture
def source(compose: Compose, root: Path) -> Callable[..., Source]:
    return lambda *overrides: open_source(compose("data=patternnet", f"data.root={root.parent}", *overrides).data)


def test_the_splits_are_stratified_and_share_nothing(source: Callable[..., Source], root: Path) -> None:
    write_patternnet(root, ("airplane", "baseball_field", "beach"), count=20)
    found = source()
    assert found.classes == ("airplane", "baseball_field", "beach")
    ids: list[str] = []
    for split, size in zip(SPLITS, (42, 9, 9), strict=True):
        dataset = found.dataset(split)
        labels = [int(dataset[index]["label"]) for index in range(len(dataset))]
        assert np.bincount(labels).tolist() == [size // 3] * 3
        assert [found.classes[label] for label in labels] == [Path(name).parent.name for name in dataset.ids]
        ids += dataset.ids
    assert len(set(ids)) == 60
    assert "PatternNet/images/baseball_field/baseballfield007.jpg" in ids


def test_fractions_and_the_split_seed_draw_the_splits(source: Callable[..., Source], root: Path) -> None:
    write_patternnet(root)
    assert source().dataset("val").ids == source("seed=3").dataset("val").ids
    assert source().dataset("val").ids != source("data.split_seed=1").dataset("val").ids
    halves = source("data.fractions=[0.5,0.5,0]")
    assert [len(halves.dataset(split)) for split in ("train", "val")] == [14, 14]
    with pytest.raises(DataError, match=r"no image of PatternNet is in the test split; raise its data.fractions"):
        halves.dataset("test")


def test_the_splits_are_those_of_a_folder_of_the_same_images(
    source: Callable[..., Source], compose: Compose, root: Path
) -> None:
    write_patternnet(root)
    folder = open_source(compose("data=folder", f"data.root={root / 'PatternNet' / 'images'}").data)
    for split in SPLITS:
        ours = [name.removeprefix("PatternNet/images/") for name in source().dataset(split).ids]
        assert ours == list(folder.dataset(split).ids)


def test_the_samples_are_torchgeos_as_bytes_by_name_of_the_band(source: Callable[..., Source], root: Path) -> None:
    from torchgeo.datasets import PatternNet

    write_patternnet(root)
    theirs = PatternNet(str(root))
    by_path = {Path(path).relative_to(root).as_posix(): row for row, (path, _) in enumerate(theirs.samples)}
    all_bands, two = source().dataset("val"), source("data.bands=[blue,red]").dataset("val")
    for index, name in enumerate(all_bands.ids):
        expected = theirs[by_path[name]]
        assert all_bands[index]["image"].dtype == np.uint8
        assert np.array_equal(all_bands[index]["image"], expected["image"].numpy())
        assert np.array_equal(two[index]["image"], expected["image"].numpy()[[2, 0]])
        assert all_bands[index]["label"] == expected["label"]


def test_resized_images_stay_bytes(compose: Compose, root: Path) -> None:
    write_patternnet(root)
    config = compose("data=patternnet", f"data.root={root.parent}", "data.image_size=8")
    pack = ensure_pack(config.data, Path(config.packs_dir))
    assert pack.images("train").dtype == np.uint8
    assert pack.images("train").shape[1:] == (3, 8, 8)


def test_a_download_is_fetched_verified_and_packed(
    compose: Compose, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchgeo.datasets import PatternNet

    write_patternnet(tmp_path / "published")
    archive = tmp_path / "PatternNet.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted((tmp_path / "published").rglob("*.jpg")):
            opened.write(file, file.relative_to(tmp_path / "published"))
    monkeypatch.setattr(PatternNet, "url", archive.as_uri())
    config = compose("data=patternnet", f"data.root={root.parent}", "data.download=true")
    with pytest.raises(DataError, match=r"^data.root: PatternNet in .*/patternnet cannot be opened: "):
        ensure_pack(config.data, Path(config.packs_dir))  # not the published sum
    monkeypatch.setattr(PatternNet, "sha256", hashlib.sha256(archive.read_bytes()).hexdigest())
    (root / "PatternNet.zip").unlink(missing_ok=True)  # else torchgeo trusts what lies there
    assert len(ensure_pack(config.data, Path(config.packs_dir)).images("train")) == 20


def test_an_absent_or_broken_archive_is_refused(source: Callable[..., Source], root: Path) -> None:
    root.mkdir(parents=True)
    with pytest.raises(DataError, match=r"^data.root: PatternNet is not complete in .*data.download=true$"):
        source()
    (root / "PatternNet.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"^data.root: PatternNet in .* cannot be opened: File is not a zip file"):
        source()


def test_a_truncated_image_is_named(compose: Compose, root: Path) -> None:
    write_patternnet(root)
    file = root / "PatternNet" / "images" / "beach" / "beach003.jpg"
    file.write_bytes(file.read_bytes()[:200])
    config = compose("data=patternnet", f"data.root={root.parent}", "data.fractions=[0.5,0.5,0]")
    with pytest.raises(DataError, match=r"1 images cannot be read; .*\nPatternNet/images/beach/beach003.jpg: "):
        ensure_pack(config.data, Path(config.packs_dir))
