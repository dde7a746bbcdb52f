"""Why batches are fast: one index a batch, pages of the pack that all processes share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from terrablate.config import Config
from terrablate.data.batches import EvalStream, Images, TrainStream
from terrablate.data.module import ChipDataModule
from terrablate.training.inputs import Inputs


class Counted(np.ndarray):
    """Counts how often it is indexed."""

    taken: list[int]

    def __getitem__(self, index: Any) -> Any:
        rows = np.asarray(self)[index]
        self.taken.append(len(rows))
        return rows


def counted(shape: tuple[int, ...]) -> Counted:
    array = np.zeros(shape, np.uint16).view(Counted)
    array.taken = []
    return array


def test_a_batch_is_one_index_into_the_pack() -> None:
    stored = counted((64, 2, 8, 8))
    images = Images(stored, np.arange(64) % 2, np.arange(64))
    stream = TrainStream(images, 16, seed=0, epoch=lambda: 0, steps=lambda epoch: None)
    assert [len(batch["image"]) for batch in stream] == [16] * 4
    assert stored.taken == [16] * 4
    assert sum(len(batch["image"]) for batch in EvalStream(images, 32)) == 64
    assert stored.taken == [16] * 4 + [32] * 2


def test_a_batch_is_standardised_as_a_whole() -> None:
    """As many operations for a batch of 64 as for one of 2."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Operations(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    inputs = Inputs(10_000, 0, [100.0, 200.0], [10.0, 20.0])
    counts = []
    for size in (2, 64):
        with Operations() as operations:
            inputs(torch.zeros(size, 2, 8, 8, dtype=torch.uint16))
        counts.append(operations.count)
    assert counts[0] == counts[1] > 0


def test_on_the_cpu_the_pack_is_mapped_and_never_copied_whole(compose: Callable[..., Config]) -> None:
    """The pages of a file that is mapped read-only are the same for all workers of a study."""
    data = ChipDataModule(compose())
    stored = {name: data.images(name)._images for name in ("train", "val", "probe")}
    for images in stored.values():
        assert isinstance(images, np.memmap)
        assert images.mode == "r"
        assert not images.flags.writeable
    assert stored["train"] is stored["probe"]
    part = data.images("train").part(np.arange(5))
    assert part._images is stored["train"]
