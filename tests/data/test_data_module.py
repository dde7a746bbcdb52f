"""The data module: which images train, val and probe hold, and how streams follow the trainer."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from attached import counts, in_epoch, order
from terrablate.config import Config
from terrablate.data.module import ChipDataModule
from terrablate.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
Compose = Callable[..., Config]


def test_without_a_budget_all_images_serve(module: Callable[..., ChipDataModule]) -> None:
    data = module()
    assert len(data.images("train")) == 40
    assert len(data.images("val")) == 20
    assert data.sample_ids("val") == data.pack.ids("val")


def test_the_probe_is_a_stratified_part_of_the_training_images_as_large_as_val(
    module: Callable[..., ChipDataModule],
) -> None:
    data = module()
    assert set(data.probe_indices) < set(data.train_indices)
    assert counts(data, "probe") == [2] * 10
    assert set(data.sample_ids("probe")) < set(data.pack.ids("train"))


def test_the_probe_comes_from_the_subset_and_may_be_smaller_than_val(module: Callable[..., ChipDataModule]) -> None:
    data = module("data.train_per_class=1")
    assert counts(data, "train") == [1] * 10
    assert data.probe_indices.tolist() == data.train_indices.tolist()  # 10 images, although val has 20


def test_budgets_nest_and_follow_their_seeds(module: Callable[..., ChipDataModule]) -> None:
    two, three = module("data.train_per_class=2"), module("data.train_per_class=3")
    assert set(two.train_indices) < set(three.train_indices)
    assert module("data.train_per_class=2", "seed=1").train_indices.tolist() != two.train_indices.tolist()
    pinned = module("data.train_per_class=2", "seed=1", "data.subset_seed=0")
    assert pinned.train_indices.tolist() == two.train_indices.tolist()


def test_val_does_not_follow_the_training_seed(module: Callable[..., ChipDataModule]) -> None:
    data, other = module("data.val_per_class=1"), module("data.val_per_class=1", "seed=1")
    assert counts(data, "val") == [1] * 10
    assert data.val_indices.tolist() == other.val_indices.tolist()
    assert module("seed=1").probe_indices.tolist() == module().probe_indices.tolist()


def test_an_evaluation_limit_cuts_val_after_its_budget(module: Callable[..., ChipDataModule]) -> None:
    assert len(module("debug.max_eval_images=12").val_indices) == 12
    both = module("debug.max_eval_images=15", "data.val_per_class=1")
    assert both.val_indices.tolist() == module("data.val_per_class=1").val_indices.tolist()


def test_the_order_follows_the_trainers_epoch(module: Callable[..., ChipDataModule]) -> None:
    data = module("batch_size=16")
    assert sorted(sum(order(in_epoch(data, 0)), [])) == list(range(40))  # noqa: RUF017
    assert order(in_epoch(data, 3)) == order(in_epoch(module("batch_size=16"), 3)) != order(in_epoch(data, 0))


def test_a_budget_in_steps_cuts_the_last_epoch(module: Callable[..., ChipDataModule]) -> None:
    data = module("batch_size=16", "steps=7")
    assert data.steps_per_epoch == 3
    assert [len(order(in_epoch(data, epoch))) for epoch in range(3)] == [3, 3, 1]
    assert order(in_epoch(data, 2)) == order(in_epoch(module("batch_size=16"), 2))[:1]


def test_a_limit_of_batches_holds_in_every_epoch(module: Callable[..., ChipDataModule]) -> None:
    data = module("batch_size=16", "debug.max_train_batches=2")
    assert data.steps_per_epoch == 2
    assert [len(order(in_epoch(data, epoch))) for epoch in range(2)] == [2, 2]
    both = module("batch_size=16", "debug.max_train_batches=2", "steps=3")
    assert [len(order(in_epoch(both, epoch))) for epoch in range(2)] == [2, 1]


def test_ranks_share_each_batch_and_each_evaluation(module: Callable[..., ChipDataModule]) -> None:
    whole = order(in_epoch(module("batch_size=16"), 1))
    parts = [order(in_epoch(module("batch_size=16", world_size=2), 1, rank)) for rank in range(2)]
    assert [sorted(first + second) for first, second in zip(*parts, strict=True)] == [sorted(step) for step in whole]
    seen: list[int] = []
    for rank in range(3):
        stream = in_epoch(module(world_size=3), 0, rank).eval_stream("val")
        seen += [position for batch in stream for position in batch["position"].tolist()]
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("storage", ["auto", "ram", "device"])
def test_where_the_pack_is_read_from_does_not_change_a_batch(
    module: Callable[..., ChipDataModule], storage: str
) -> None:
    mapped, other = (in_epoch(module(f"data.storage={name}"), 1) for name in ("mmap", storage))
    for first, second in zip(mapped.train_dataloader(), other.train_dataloader(), strict=True):
        assert first["image"].dtype == second["image"].dtype == torch.uint16
        assert torch.equal(first["image"].int(), second["image"].int())
        assert first["label"].tolist() == second["label"].tolist()


def test_images_are_the_packs_rows(module: Callable[..., ChipDataModule]) -> None:
    data = in_epoch(module("data.train_per_class=2"), 0)
    [batch] = data.train_dataloader()
    rows = data.train_indices[batch["position"]]
    assert np.array_equal(batch["image"].numpy(), data.pack.images("train")[rows])
    assert np.array_equal(batch["label"].numpy(), data.pack.labels("train")[rows])


def test_a_batch_size_beyond_the_data_is_told(
    module: Callable[..., ChipDataModule], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = module("batch_size=64")
    assert "batch_size=64 exceeds the 40 training images: every epoch is one step over all of them" in caplog.text
    assert [len(step) for step in order(in_epoch(data, 0))] == [40]


def test_a_budget_that_a_class_cannot_meet_is_told(
    module: Callable[..., ChipDataModule], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        module("data.train_per_class=5")
    assert "fewer than data.train_per_class=5 images: Annual" in caplog.text


# --- wrong inputs ----------------------------------------------------------------------------------------------------


def write(root: Path, name: str, pixels: Any) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".tif"):
        import rasterio

        profile = {"driver": "GTiff", "count": len(pixels), "height": 16, "width": 16, "dtype": "uint16"}
        with rasterio.open(file, "w", **profile) as tiff:
            tiff.write(pixels)
    else:
        Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images of each of two classes."""
    root = tmp_path / "images"
    for number in range(20):
        write(root, f"{('forest', 'water')[number % 2]}/{number:02}.png", np.full((16, 16, 3), number, np.uint8))
    return root


def open_folder(compose: Compose, root: Path, *overrides: str) -> ChipDataModule:
    return ChipDataModule(compose("data=folder", f"data.root={root}", *overrides))


def refusal(compose: Compose, root: Path, *overrides: str) -> str:
    with pytest.raises(DataError) as refused:
        open_folder(compose, root, *overrides)
    return str(refused.value)


def test_truncated_and_false_images_are_all_named(compose: Compose, folder: Path) -> None:
    (folder / "forest" / "text.jpg").write_text("this is text")
    (folder / "water" / "empty.png").touch()
    cut = folder / "forest" / "00.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    lines = refusal(compose, folder, "data.fractions=[0.5,0.5,0]").splitlines()
    assert lines[0].startswith("data=folder: 3 images cannot be read; repair or remove them, or leave them out with")
    assert {line.split(":")[0] for line in lines[1:]} == {"forest/text.jpg", "water/empty.png", "forest/00.png"}
    data = open_folder(compose, folder, "data.fractions=[0.5,0.5,0]", "data.on_error=skip")
    assert set(data.pack.meta["skipped"]) == {"forest/text.jpg", "water/empty.png", "forest/00.png"}
    assert len(data.train_indices) + len(data.val_indices) == 19


def test_a_truncated_tiff_is_named(compose: Compose, tmp_path: Path) -> None:
    root = tmp_path / "tiffs"
    for number in range(20):
        file = write(root, f"{'ab'[number % 2]}/{number}.tif", np.full((4, 16, 16), number, np.uint16))
    file.write_bytes(file.read_bytes()[:700])
    assert "b/19.tif cannot be read, it may be truncated" in refusal(compose, root, "data.fractions=[0.5,0.5,0]")


def test_mixed_sizes_are_refused_and_resizing_resolves_them(compose: Compose, folder: Path) -> None:
    write(folder, "forest/large.png", np.zeros((20, 18, 3), np.uint8))
    everything = "data.fractions=[0.5,0.5,0]"
    assert "20x18 (1 images, such as forest/large.png); set data.image_size" in refusal(compose, folder, everything)
    assert open_folder(compose, folder, everything, "data.image_size=16").pack.image_size == 16


def test_mixed_band_counts_are_refused(compose: Compose, folder: Path) -> None:
    write(folder, "forest/grey.png", np.zeros((16, 16), np.uint8))
    told = refusal(compose, folder, "data.fractions=[0.5,0.5,0]")
    assert "forest/grey.png has 1 band(s) where 3 are expected" in told


def test_one_class_only_is_refused(compose: Compose, folder: Path) -> None:
    for file in (folder / "water").iterdir():
        file.unlink()
    (folder / "water").rmdir()
    assert "has the one class forest, but needs at least two classes" in refusal(compose, folder)


def test_an_empty_class_folder_is_refused(compose: Compose, folder: Path) -> None:
    (folder / "desert").mkdir()
    assert "desert" in refusal(compose, folder)


def test_an_empty_list_of_val_images_is_refused(compose: Compose, folder: Path) -> None:
    (folder / "train.txt").write_text("".join(f"forest/{n:02}.png\nwater/{n + 1:02}.png\n" for n in range(0, 20, 2)))
    (folder / "val.txt").touch()
    assert "val" in refusal(compose, folder, "data.train_list=train.txt", "data.val_list=val.txt")


def test_bands_that_the_files_do_not_have_are_refused(compose: Compose, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.bands is \['B08'\], with unknown bands"):
        open_folder(compose, folder, "data.bands=[B08]")
