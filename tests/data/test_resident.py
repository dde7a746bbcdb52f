"""Packs that are resident on a device: everything of a batch is there, and an epoch uploads its order once.

The device is torch's `meta`: it computes shapes and no values, and copies to it are counted as those to a GPU would be.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from attached import in_epoch
from terrablate.data.batches import EvalStream, Images, TrainStream
from terrablate.data.module import ChipDataModule

META = torch.device("meta")


class Uploads(TorchDispatchMode):
    """Counts copies from the host to the device."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        copied = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        if copied and result.device == META and args[0].device != META:
            self.count += 1
        return result


def resident(labels: Any = None) -> Images:
    stored = torch.zeros(46, 2, 3, 3, dtype=torch.uint16, device=META)
    return Images(stored, np.arange(46) % 5 if labels is None else labels, np.arange(23) * 2)


def stream(images: Images, epoch: int) -> TrainStream:
    return TrainStream(images, 6, 0, epoch=lambda: epoch, steps=lambda _: None)


def test_an_epoch_uploads_its_order_and_no_step_uploads_anything() -> None:
    images = resident()
    with Uploads() as uploads:
        batches = list(stream(images, 0))
        assert uploads.count == 3  # rows and labels once for all epochs, and the order
        batches += list(stream(images, 1))
        assert uploads.count == 4
    assert [len(batch["image"]) for batch in batches] == [6, 6, 6, 5] * 2
    for batch in batches:
        assert batch["image"].device == batch["label"].device == batch["position"].device == META
        assert batch["image"].dtype == torch.uint16
        assert batch["label"].dtype == batch["position"].dtype == torch.int64


def test_an_evaluation_uploads_its_positions_once() -> None:
    images = resident(np.zeros((46, 3), np.uint8))
    with Uploads() as uploads:
        batches = list(EvalStream(images, 10))
    assert uploads.count == 3
    assert [tuple(batch["label"].shape) for batch in batches] == [(10, 3), (10, 3), (3, 3)]


def test_a_part_of_resident_images_has_its_own_labels_there() -> None:
    stored = torch.arange(46).view(46, 1, 1, 1)
    images = Images(stored, np.arange(46) % 5, np.arange(23) * 2)
    images.take(np.array([0]))  # what it keeps on the device is not the part's
    batch = images.part(np.array([4, 7])).take(np.array([1]))
    assert batch["image"].flatten().tolist() == [14]
    assert batch["label"].tolist() == [14 % 5]


def test_images_that_were_asked_for_before_there_was_a_trainer_are_resident_once_it_is_there(
    module: Callable[..., ChipDataModule],
) -> None:
    data = module("data.storage=device")
    assert data.images("val").take(np.arange(2))["image"].device.type == "cpu"
    in_epoch(data, 0)
    data.trainer.strategy = SimpleNamespace(root_device=META)  # type: ignore[union-attr, assignment]
    for name in ("train", "val", "probe"):
        batch = data.images(name).take(np.arange(2))
        assert batch["image"].device == batch["label"].device == META
    assert data.images("train")._images is data.images("probe")._images  # one copy


def test_labels_are_those_of_the_images_without_reading_any(module: Callable[..., ChipDataModule]) -> None:
    data = module("data.label_noise=0.5", "data.train_per_class=2")
    labels = {name: data.labels(name) for name in ("train", "val", "probe")}
    assert data._stored == {}
    for name, found in labels.items():
        assert found.tolist() == data.images(name).labels.tolist()
    assert labels["train"].tolist() != data.true_labels.tolist()
