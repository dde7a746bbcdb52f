"""Streams of batches from packed arrays."""

import warnings
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from terrablate.data.batches import EvalStream, Images, TrainStream, epoch_order, steps_per_epoch

COUNT = 23
INDICES = np.arange(COUNT) * 2 + 1  # every second row belongs to the subset


def stored(dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """Images 46,2,3,3, each filled with its row number."""
    return np.broadcast_to(np.arange(46).reshape(46, 1, 1, 1), (46, 2, 3, 3)).astype(dtype)


def images(dtype: str = "uint16") -> Images:
    return Images(stored(dtype), np.arange(46) % 5, INDICES)


def stream(epoch: int = 0, *, batch_size: int = 6, seed: int = 0, rank: int = 0, world: int = 1, **more: Any) -> Any:
    limit = more.get("limit")
    return TrainStream(
        more.get("images", images()),
        batch_size,
        seed,
        epoch=lambda: epoch,
        steps=lambda _: limit,
        sampler=more.get("sampler", "shuffle"),
        rank=rank,
        world=world,
    )


def positions(batches: Any) -> list[list[int]]:
    return [batch["position"].tolist() for batch in batches]


def test_a_batch_holds_image_label_and_position_of_the_same_rows() -> None:
    for batch in stream():
        rows = INDICES[batch["position"]]
        assert batch["image"].shape == (len(rows), 2, 3, 3)
        assert (batch["image"].int().numpy() == rows[:, None, None, None]).all()
        assert batch["label"].tolist() == (rows % 5).tolist()
        assert batch["label"].dtype == torch.int64


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_images_keep_the_type_of_the_pack(dtype: str) -> None:
    assert next(iter(stream(images=images(dtype))))["image"].dtype == getattr(torch, dtype)


def test_an_epoch_visits_every_image_once() -> None:
    assert sorted(chain(*positions(stream()))) == list(range(COUNT))
    assert sorted(epoch_order(COUNT, 3, 4).tolist()) == list(range(COUNT))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = positions(stream(0))
    again = stream(0)
    assert positions(again) == positions(again) == first  # iterating twice changes nothing
    assert positions(stream(1)) != first
    assert positions(stream(0, seed=1)) != first


def test_the_epoch_is_asked_for_when_it_starts() -> None:
    now = [0]
    one = TrainStream(images(), 6, 0, epoch=lambda: now[0], steps=lambda _: None)
    first = positions(one)
    now[0] = 1
    assert positions(one) == positions(stream(1)) != first


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_partition_each_batch(world: int) -> None:
    whole = list(stream(batch_size=6, world=1))
    parts = [list(stream(batch_size=6, rank=rank, world=world)) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    for step, ranks in enumerate(zip(*parts, strict=True)):
        together = list(chain(*positions(ranks)))
        assert sorted(together) == sorted(whole[step]["position"].tolist())
        assert {batch["size"] for batch in ranks} == {len(together)}


def test_balanced_batches_are_shared_by_ranks_like_any_others_and_are_as_many() -> None:
    uneven = Images(stored(), (np.arange(46) > 8).astype(np.int64), INDICES)  # 4 and 19 images
    whole = list(stream(2, images=uneven, sampler="balanced"))
    assert [len(batch["position"]) for batch in whole] == [len(step) for step in positions(stream())] == [6, 6, 6, 5]
    shown = np.bincount(np.concatenate([batch["label"] for batch in whole]))
    assert sorted(shown.tolist()) == [11, 12]
    parts = [stream(2, images=uneven, sampler="balanced", rank=rank, world=2) for rank in range(2)]
    for step, ranks in zip(positions(whole), zip(*map(positions, parts), strict=True), strict=True):
        assert (step[0::2], step[1::2]) == ranks


def test_shuffled_batches_are_those_of_the_epochs_order() -> None:
    order = epoch_order(COUNT, 0, 3).tolist()
    assert positions(stream(3)) == positions(stream(3, sampler="shuffle"))
    assert list(chain(*positions(stream(3)))) == order
    assert order[:6] == [6, 10, 3, 14, 19, 17]  # what the seed has always given


def test_a_part_of_the_images_is_a_subset_of_its_own() -> None:
    part = images().part(np.array([4, 1]))
    assert (len(part), part.labels.tolist()) == (2, [INDICES[4] % 5, INDICES[1] % 5])
    assert part.take(np.array([1]))["image"].flatten().tolist() == [INDICES[1]] * 18
    assert len(images()) == COUNT


@pytest.mark.parametrize(
    ("count", "batch_size", "world", "steps"),
    [
        (24, 6, 1, 4),
        (25, 6, 1, 4),  # one image alone is left out
        (26, 6, 1, 5),
        (27, 6, 2, 4),  # three images are too few for two devices
        (28, 6, 2, 5),
        (5, 64, 1, 1),  # a batch larger than the data
        (3, 1, 1, 3),
    ],
)
def test_a_last_batch_of_fewer_than_two_images_a_device_is_left_out(
    count: int, batch_size: int, world: int, steps: int
) -> None:
    assert steps_per_epoch(count, batch_size, world) == steps
    some = Images(np.zeros((count, 1, 2, 2), np.uint8), np.zeros(count, np.int64), np.arange(count))
    batches = list(stream(images=some, batch_size=batch_size, world=world))
    assert len(batches) == steps
    assert all(len(batch["position"]) >= min(2, batch_size) for batch in batches)


def test_a_batch_larger_than_the_data_is_one_step_over_all() -> None:
    [batch] = stream(batch_size=1000)
    assert sorted(batch["position"].tolist()) == list(range(COUNT))
    assert batch["size"] == COUNT


def test_a_limit_cuts_the_epoch_and_keeps_its_order() -> None:
    cut = stream(limit=2)
    assert len(cut) == 2
    assert positions(cut) == positions(stream())[:2]
    assert len(stream(limit=100)) == len(stream())


@pytest.mark.parametrize("world", [1, 2, 3, 30])
def test_an_evaluation_sees_every_image_once_over_all_ranks(world: int) -> None:
    streams = [EvalStream(images(), 4, rank=rank, world=world) for rank in range(world)]
    seen = [list(chain(*positions(one))) for one in streams]
    assert sorted(chain(*seen)) == list(range(COUNT))
    assert all(found == sorted(found) for found in seen)
    assert [len(positions(one)) for one in streams] == [len(one) for one in streams]


def test_a_tensor_a_memory_map_and_an_array_give_equal_batches(tmp_path: Any) -> None:
    np.save(tmp_path / "images.npy", stored())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that cannot be written to
        batches = [
            list(stream(images=Images(each, np.arange(46) % 5, INDICES)))
            for each in (mapped, stored(), torch.from_numpy(stored()))
        ]
    for mapped_batch, ram, tensor in zip(*batches, strict=True):
        for key in ("image", "label", "position"):
            assert torch.equal(mapped_batch[key], ram[key])
            assert torch.equal(mapped_batch[key], tensor[key])


def test_changing_a_batch_does_not_change_the_data(tmp_path: Any) -> None:
    data = images()
    data.take(np.array([0]))["image"].view(torch.int16).fill_(7)
    assert (data.take(np.array([0]))["image"].int() == 1).all()
