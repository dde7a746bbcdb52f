"""Datasets of torchgeo: their own download and checksums, and exactly their values."""

import hashlib
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrablate.config import Config
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.source import SPLITS, Split
from terrablate.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
Compose = Callable[..., Config]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny EuroSAT as its publisher lays it out, behind a file:// address."""
    import rasterio
    from torchgeo.datasets import EuroSAT

    folder = tmp_path / "published"
    folder.mkdir()
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    with zipfile.ZipFile(folder / EuroSAT.filename, "w") as archive:
        for number in range(18):
            label, split = ("Forest", "River")[number % 2], SPLITS[number // 2 % 3]
            name = f"{label}_{number}"
            names[split].append(f"{name}.jpg")  # torchgeo's lists say jpg
            profile: dict[str, Any] = {"driver": "GTiff", "count": 13, "height": 8, "width": 8, "dtype": "uint16"}
            with rasterio.open(folder / "one.tif", "w", **profile) as tiff:
                tiff.write(np.broadcast_to(np.arange(13)[:, None, None] * 100 + number, (13, 8, 8)).astype(np.uint16))
            archive.write(folder / "one.tif", f"{EuroSAT.base_dir}/{label}/{name}.tif")
    for split, listed in names.items():
        (folder / EuroSAT.split_filenames[split]).write_text("\n".join(listed))
    monkeypatch.setattr(EuroSAT, "url", f"{folder.as_uri()}/")
    monkeypatch.setattr(EuroSAT, "sha256", sha256(folder / EuroSAT.filename))
    sums = {split: sha256(folder / name) for split, name in EuroSAT.split_filenames.items()}
    monkeypatch.setattr(EuroSAT, "split_sha256s", sums)
    return folder


@pytest.fixture
def pack(compose: Compose, tmp_path: Path) -> Callable[..., Pack]:
    def packed(*overrides: str) -> Pack:
        config = compose("data=eurosat", f"data.root={tmp_path / 'data'}", *overrides)
        return ensure_pack(config.data, Path(config.packs_dir))

    return packed


def test_a_download_is_fetched_verified_and_packed(published: Path, pack: Callable[..., Pack], tmp_path: Path) -> None:
    found = pack("data.download=true")
    assert found.classes == ["Forest", "River"]
    assert found.images("train").shape == (6, 13, 8, 8)
    assert found.images("train").dtype == np.uint16
    numbers = [int(name.rpartition("_")[2].removesuffix(".tif")) for name in found.ids("train")]
    assert sorted(numbers) == [0, 1, 6, 7, 12, 13]
    assert (found.images("train")[:, :, 0, 0] == np.arange(13) * 100 + np.array(numbers)[:, None]).all()
    assert (tmp_path / "data" / "eurosat" / "eurosat-train.txt").is_file()
    assert pack() == found  # without download, now that it is there


@pytest.mark.parametrize("wrong", ["sha256", "split_sha256s"])
def test_a_wrong_checksum_is_refused(
    published: Path, pack: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch, wrong: str, tmp_path: Path
) -> None:
    from torchgeo.datasets import EuroSAT

    monkeypatch.setattr(EuroSAT, wrong, "0" * 64 if wrong == "sha256" else dict.fromkeys(SPLITS, "0" * 64))
    with pytest.raises(DataError) as refused:
        pack("data.download=true")
    assert str(refused.value).startswith(f"data.root: EuroSAT in {tmp_path / 'data' / 'eurosat'} cannot be opened: ")
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "packs").glob("eurosat-*"))


def test_a_wrong_checksum_is_accepted_where_it_is_not_checked(
    published: Path, pack: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchgeo.datasets import EuroSAT

    monkeypatch.setattr(EuroSAT, "sha256", "0" * 64)
    assert len(pack("data.download=true", "data.checksum=false").images("val")) == 6


def test_a_download_that_fails_is_refused(published: Path, pack: Callable[..., Pack]) -> None:
    (published / "EuroSATallBands.zip").unlink()
    with pytest.raises(DataError, match=r"^data.root: EuroSAT in .* cannot be opened: "):
        pack("data.download=true")


def test_nothing_is_downloaded_unasked(published: Path, pack: Callable[..., Pack], tmp_path: Path) -> None:
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"^data.root: EuroSAT is not complete in .*data.download=true"):
        pack()
    assert not list((tmp_path / "data" / "eurosat").iterdir())


def test_a_pack_serves_without_a_new_download_when_its_source_is_gone(
    published: Path, pack: Callable[..., Pack], tmp_path: Path
) -> None:
    found = pack("data.download=true")
    (tmp_path / "data").rename(tmp_path / "gone")
    assert pack("data.download=true") == found
    assert not (tmp_path / "data").exists()
    assert pack() == found


def test_an_empty_split_list_is_refused(published: Path, pack: Callable[..., Pack], tmp_path: Path) -> None:
    pack("data.download=true")
    (tmp_path / "data" / "eurosat" / "eurosat-val.txt").write_text("")
    with pytest.raises(DataError, match=r"^data.root: EuroSAT in .* cannot be opened: "):
        pack()


def test_a_truncated_tiff_is_named_and_can_be_left_out(
    published: Path, pack: Callable[..., Pack], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack("data.download=true")
    for file in (tmp_path / "data").rglob("*_0.tif"):
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match=r"1 images cannot be read; .*\nds/.*/Forest/Forest_0.tif: "):
        pack()
    with caplog.at_level(logging.WARNING):
        found = pack("data.on_error=skip")
    assert len(found.images("train")) == 5
    assert [Path(name).name for name in found.meta["skipped"]] == ["Forest_0.tif"]
    assert "1 unreadable images are left out" in caplog.text


# --- the real sets ---------------------------------------------------------------------------------------------------


def assert_equal_to_torchgeo(pack: Pack, dataset: Any, split: Split, root: Path, rows: list[int] | None = None) -> None:
    images, labels = pack.images(split), pack.labels(split)
    assert len(images) == len(dataset)
    assert pack.classes == list(dataset.classes)
    assert pack.ids(split) == [Path(path).relative_to(root).as_posix() for path, _ in dataset.samples]
    for index in range(len(dataset)) if rows is None else rows:
        sample = dataset[index]
        assert np.array_equal(images[index], sample["image"].numpy())
        assert labels[index] == sample["label"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("bands", "names"), [("all", None), ("rgb", ("B04", "B03", "B02")), ("[B08,B04]", ("B08", "B04"))]
)
def test_the_pack_of_eurosat_equals_torchgeos_class(
    compose: Compose, data_dir: Path, bands: str, names: tuple[str, ...] | None
) -> None:
    from torchgeo.datasets import EuroSAT

    config = compose("data=eurosat", f"data.root={data_dir}", f"data.bands={bands}")
    pack = ensure_pack(config.data, Path(config.packs_dir))
    root = data_dir / "eurosat"
    assert pack.bands == list(names or EuroSAT.all_band_names)
    assert pack.images("train").dtype == np.uint16
    for split in ("train", "val"):
        dataset = EuroSAT(str(root), split, bands=names or EuroSAT.all_band_names)
        assert_equal_to_torchgeo(pack, dataset, split, root)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_pack_of_uc_merced_equals_torchgeos_class_odd_sizes_included(compose: Compose, data_dir: Path) -> None:
    from PIL import Image
    from torchgeo.datasets import UCMerced

    config = compose("data=ucmerced", f"data.root={data_dir}")
    pack = ensure_pack(config.data, Path(config.packs_dir))
    root = data_dir / "ucmerced"
    odd = 0
    for split in ("train", "val"):
        dataset = UCMerced(str(root), split)
        rows = [row for row, (path, _) in enumerate(dataset.samples) if Image.open(path).size != (256, 256)]
        odd += len(rows)
        assert_equal_to_torchgeo(pack, dataset, split, root, [*rows, *range(0, len(dataset), 20)])
    assert odd > 20
    assert pack.images("train").shape[1:] == (3, 256, 256)
    shutil.rmtree(pack.folder)  # a gigabyte, which pytest would keep


@pytest.mark.real_data
@pytest.mark.slow
def test_resized_uc_merced_is_bytes_and_bands_are_selected_by_name(compose: Compose, data_dir: Path) -> None:
    base = ["data=ucmerced", f"data.root={data_dir}", "data.image_size=32"]
    packs = {}
    for bands in ("all", "[blue,red]"):
        config = compose(*base, f"data.bands={bands}")
        packs[bands] = ensure_pack(config.data, Path(config.packs_dir), ("val",))
    assert packs["all"].images("val").dtype == np.uint8
    assert packs["all"].images("val").shape == (420, 3, 32, 32)
    assert np.array_equal(packs["[blue,red]"].images("val"), packs["all"].images("val")[:, [2, 0]])
