"""Writing packs: exact in the smallest type, with the train split's statistics, and what is refused or filled."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chip_folders import write_tiff
from terrablate.config import Config
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.packing import write_pack
from terrablate.data.source import Sample, Split
from terrablate.errors import DataError

Compose = Callable[..., Config]
Array = np.ndarray[Any, Any]


class ArraySource:
    """A source of arrays in memory; an exception in place of an image is raised when it is read."""

    bands = ("a", "b")
    classes = ("x", "y")

    def __init__(self, **splits: Sequence[Array | Exception]) -> None:
        self.splits = splits

    def dataset(self, split: Split) -> "ArraySplit":
        return ArraySplit(split, self.splits[split])


class ArraySplit:
    def __init__(self, split: str, images: Sequence[Array | Exception]) -> None:
        self.images = images
        self.ids = [f"{split}/{number}" for number in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        if isinstance(image, Exception):
            raise image
        return {"image": image, "label": index % 2}


def chips(dtype: str, low: float, high: float, count: int = 3, size: int = 5, seed: int = 0) -> list[Array]:
    """Images 2,size,size whose smallest and greatest values are `low` and `high`."""
    drawn = np.random.default_rng(seed).uniform(low, high, (count, 2, size, size))
    drawn.flat[0], drawn.flat[-1] = low, high
    return list(drawn.astype(dtype))


@pytest.fixture
def written(compose: Compose, tmp_path: Path) -> Callable[..., Pack]:
    """Pack arrays with the settings of a folder of files."""

    def write(*overrides: str, **splits: Sequence[Array | Exception]) -> Pack:
        splits.setdefault("val", splits["train"][:1])
        data = compose("data=folder", f"data.root={tmp_path}", *overrides).data
        folder = tmp_path / f"pack{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write_pack(ArraySource(**splits), data, folder, tuple(splits))  # type: ignore[arg-type]
        return Pack(folder, json.loads((folder / "meta.json").read_text()))

    return write


@pytest.mark.parametrize(
    ("dtype", "low", "high", "packed"),
    [
        ("uint8", 0, 255, "uint8"),
        ("uint16", 0, 255, "uint8"),
        ("float32", 0, 255, "uint8"),  # torchgeo gives whole numbers as floats
        ("uint16", 0, 256, "uint16"),
        ("float32", 0, 65535, "uint16"),
        ("int16", -1, 255, "int16"),
        ("int16", -32768, 32767, "int16"),
        ("int32", -1, 32768, "float32"),
        ("int32", 0, 65536, "float32"),
        ("float32", 0.5, 2.5, "float32"),
    ],
)
def test_the_smallest_type_that_is_exact_is_taken(
    written: Callable[..., Pack], dtype: str, low: float, high: float, packed: str
) -> None:
    images = chips(dtype, low, high)
    if packed != "float32" or dtype != "float32":
        images = [np.rint(image).astype(dtype) for image in images]
    pack = written(train=images)
    assert pack.images("train").dtype == packed
    assert np.array_equal(pack.images("train"), np.stack(images))


@pytest.mark.parametrize("late", [("uint16", 0, 4000), ("int16", -5, 9), ("float32", 0.25, 0.75)])
def test_the_type_widens_when_a_later_chunk_needs_it(
    written: Callable[..., Pack], late: tuple[str, float, float]
) -> None:
    images = [*chips("uint8", 0, 255, count=130), *chips(*late, count=70), *chips("uint8", 0, 255, count=70)]
    pack = written(train=images)
    assert pack.images("train").dtype == late[0]
    assert np.array_equal(pack.images("train"), np.stack([image.astype(late[0]) for image in images]))


def test_the_type_widens_twice(written: Callable[..., Pack]) -> None:
    images = [*chips("uint16", 0, 60000, count=64), *chips("int16", -5, 9, count=64), *chips("uint8", 0, 9, count=64)]
    pack = written(train=images)
    assert pack.images("train").dtype == "float32"
    assert np.array_equal(pack.images("train"), np.stack([image.astype("float32") for image in images]))


@pytest.mark.parametrize("first", [[], chips("float32", 0.1, 0.9, count=64)])
def test_numbers_that_float32_cannot_hold_are_refused(written: Callable[..., Pack], first: list[Array]) -> None:
    with pytest.raises(DataError, match="data=folder: has numbers that float32 cannot hold exactly; rescale"):
        written(train=[*first, *chips("int32", 0, 2**24 + 1)])


def test_statistics_are_numpys_of_the_train_split_only(written: Callable[..., Pack]) -> None:
    images = chips("uint16", 0, 9000, count=150)
    pack = written(train=images, val=chips("uint16", 0, 60000, count=70, seed=1))
    stack = np.stack(images).astype(np.float64)
    assert np.allclose(pack.mean, stack.mean(axis=(0, 2, 3)), rtol=1e-12)
    assert np.allclose(pack.std, stack.std(axis=(0, 2, 3)), rtol=1e-12)
    assert pack.meta["statistics"]["min"] == stack.min(axis=(0, 2, 3)).tolist()
    assert pack.meta["statistics"]["max"] == stack.max(axis=(0, 2, 3)).tolist()


def test_statistics_hold_where_the_mean_dwarfs_the_spread(written: Callable[..., Pack]) -> None:
    images = [np.full((2, 5, 5), 60000 + number % 2, np.uint16) for number in range(200)]
    assert np.allclose(written(train=images).std, 0.5, rtol=1e-9)


def test_all_unreadable_images_of_all_splits_are_listed(written: Callable[..., Pack]) -> None:
    good = chips("uint8", 0, 9, count=80)
    train = [OSError("is cut"), *good, ValueError("is odd")]
    nan = np.full((2, 5, 5), np.nan, np.float32)
    with pytest.raises(DataError) as refused:
        written(train=train, val=[*good, nan, SyntaxError("broken PNG")])
    assert str(refused.value).splitlines() == [
        "data=folder: 4 images cannot be read; repair or remove them, or leave them out with data.on_error=skip:",
        "train/0: is cut",
        "train/81: is odd",
        "val/80: has values that are not finite",
        "val/81: broken PNG",
    ]


def test_a_long_list_of_unreadable_images_is_cut_and_says_so(written: Callable[..., Pack]) -> None:
    with pytest.raises(DataError) as refused:
        written(train=[OSError("is cut")] * 60)
    assert str(refused.value).splitlines()[-1] == "... and 11 more"  # 60 of train and 1 of val, 50 listed


def test_unreadable_images_are_left_out_on_request_and_listed(written: Callable[..., Pack]) -> None:
    good = chips("uint8", 0, 9, count=3)
    pack = written("data.on_error=skip", train=[good[0], OSError("is cut"), good[1], good[2]], val=good)
    assert pack.ids("train") == ["train/0", "train/2", "train/3"]
    assert pack.labels("train").tolist() == [0, 0, 1]
    assert np.array_equal(pack.images("train"), np.stack(good))
    assert pack.meta["skipped"] == {"train/1": "is cut"}


def test_a_split_of_which_nothing_can_be_read_is_refused(written: Callable[..., Pack]) -> None:
    with pytest.raises(DataError, match="data=folder: the val split has no image; it needs at least one"):
        written("data.on_error=skip", train=chips("uint8", 0, 9), val=[OSError("is cut")])


def test_mixed_sizes_are_refused_with_their_counts(written: Callable[..., Pack]) -> None:
    with pytest.raises(DataError) as refused:
        written(train=[*chips("uint8", 0, 9, count=70), *chips("uint8", 0, 9, count=2, size=7)])
    assert str(refused.value) == (
        "data=folder: the images have different sizes: 5x5 (71 images, such as train/0),"
        " 7x7 (2 images, such as train/70); set data.image_size to resize them"
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_resizing_is_bilinear_and_antialiased_and_keeps_whole_numbers_whole(
    written: Callable[..., Pack], dtype: str
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    images = [*chips(dtype, 0, 200, size=23), *chips(dtype, 0, 200, size=40)]
    images[-1] = images[-1][:, :31]  # not square
    pack = written("data.image_size=11", train=images)
    for image, packed in zip(images, pack.images("train"), strict=True):
        expected = resize(
            torch.from_numpy(image.astype(np.float32)), [11, 11], InterpolationMode.BILINEAR, antialias=True
        ).numpy()
        assert np.array_equal(packed, expected if dtype == "float32" else np.rint(expected))
    assert pack.images("train").dtype == ("float32" if dtype == "float32" else "uint8")
    assert pack.image_size == 11


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_values_without_data_are_filled_told_and_counted(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.array([[[-10.5, np.nan], [-20.5, -30.5]], [[-99.0, 3.0], [5.0, 4.0]]], dtype="float32")
    for name in ("forest", "water"):
        for number in range(8):
            write_tiff(tmp_path / "sar" / name / f"{number}.tif", pixels, nodata=-99)
    config = compose("data=folder", f"data.root={tmp_path / 'sar'}", "data.band_names=[VV,VH]", "data.scale=1")
    pack = ensure_pack(config.data, tmp_path / "packs")
    images = pack.images("train")
    assert images.dtype == np.float32
    assert images[0].tolist() == [[[-10.5, -20.5], [-20.5, -30.5]], [[4.0, 3.0], [5.0, 4.0]]]
    assert set(pack.meta["filled"]) == {*pack.ids("train"), *pack.ids("val")}
    assert set(pack.meta["filled"].values()) == {2}
    assert "values without data" in caplog.text
