"""Batches from packed arrays: one fancy index a batch, in an order that is a function of (seed, epoch).

Where images are resident on a device, so are their labels, and the order of an epoch is sent there as a whole: then a
step copies nothing from the host.
"""

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from terrablate.data.imbalance import balanced_order
from terrablate.data.source import Labels
from terrablate.data.subsets import Indices
from terrablate.random_streams import numpy_stream

if TYPE_CHECKING:
    import torch

    from terrablate.data.paging import PagedImages


type Positions = Indices | torch.Tensor
"""Of images in a (sub)set: n, int64."""


class Batch(TypedDict):
    """What a stream yields."""

    image: "torch.Tensor"
    """n,C,H,W as stored in the pack: uint8, uint16, int16 or float32."""
    label: "torch.Tensor"
    """n, int64; of several labels an image n,K, uint8."""
    position: "torch.Tensor"
    """n, int64: place of each image in its (sub)set."""
    size: int
    """Images of the whole step over all devices; n or more."""


class Images:
    """Images and labels of a subset, read from the pack when they are asked for.

    Args:
        images: N,C,H,W, memory-mapped, paged, in RAM, or a tensor on a device, on which all of a batch is then.
        labels: N; of several an image N,K.
        indices: which rows belong to the subset.
    """

    def __init__(
        self, images: "npt.NDArray[Any] | PagedImages | torch.Tensor", labels: Labels, indices: Indices
    ) -> None:
        self._images: Any = images
        self._indices = indices
        self.labels = labels[indices]
        self._resident: tuple[torch.Tensor, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self._indices)

    def part(self, positions: Indices) -> "Images":
        """The images at these positions, as a subset of their own."""
        part = copy.copy(self)
        part._indices, part.labels = self._indices[positions], self.labels[positions]
        part._resident = None
        return part

    def take(self, positions: Positions, size: int | None = None) -> Batch:
        """The images at these positions of the subset, as one batch."""
        import torch

        size = size or len(positions)
        positions = self.placed(positions)
        if isinstance(positions, torch.Tensor):
            rows, labels = self._on_device()
            image, label, position = self._images[rows[positions]], labels[positions], positions
        else:
            image = torch.from_numpy(self._images[self._indices[positions]])
            label, position = torch.from_numpy(self.labels[positions]), torch.from_numpy(positions)
        return {"image": image, "label": label, "position": position, "size": size}

    def placed(self, positions: Positions) -> Positions:
        """Positions where `take` needs them: for resident images a tensor on their device, parts of which serve, too.

        Nothing waits for the device; parts of what was placed cost no copy.
        """
        import torch

        if isinstance(self._images, torch.Tensor) and not isinstance(positions, torch.Tensor):
            return torch.from_numpy(positions).to(self._images.device, non_blocking=True)
        return positions

    def _on_device(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """Rows of the pack and labels of the subset, beside resident images; sent there once."""
        import torch

        if self._resident is None:
            assert isinstance(self._images, torch.Tensor)
            rows, labels = (
                torch.from_numpy(np.array(values)).to(self._images.device, non_blocking=True)
                for values in (self._indices, self.labels)
            )
            self._resident = rows, labels
        return self._resident


class TrainStream:
    """Shuffled batches of an epoch; a rank takes every world-th image of each batch.

    The order is a function of (seed, epoch), so a resumed run sees what an undisturbed one does. The last batch may be
    smaller; one of fewer than two images a device is left out, since batch normalisation cannot use it.

    Args:
        images: the training images.
        batch_size: images a step over all devices.
        seed: of the run.
        epoch: tells the epoch that is about to start, from 0.
        steps: tells how many steps an epoch may have; None for all.
        sampler: `shuffle` shows every image once an epoch, `balanced` every class equally often; as many steps.
        rank: of this process.
        world: number of processes.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        seed: int,
        *,
        epoch: Callable[[], int],
        steps: Callable[[int], int | None],
        sampler: Literal["shuffle", "balanced"] = "shuffle",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._images = images
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._steps = steps
        self._sampler = sampler
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        whole = steps_per_epoch(len(self._images), self._batch_size, self._world)
        limit = self._steps(self._epoch())
        return whole if limit is None else min(whole, limit)

    def __iter__(self) -> Iterator[Batch]:
        order = self._images.placed(self._order(self._epoch()))
        for step in range(len(self)):
            whole = order[step * self._batch_size : (step + 1) * self._batch_size]
            yield self._images.take(whole[self._rank :: self._world], len(whole))

    def _order(self, epoch: int) -> Indices:
        if self._sampler == "balanced":
            return balanced_order(self._images.labels, self._seed, epoch)
        return epoch_order(len(self._images), self._seed, epoch)


def epoch_order(count: int, seed: int, epoch: int) -> Indices:
    """The order in which an epoch visits `count` images: a permutation of 0..count-1."""
    return numpy_stream(seed, "order", epoch).permutation(count)


def steps_per_epoch(count: int, batch_size: int, world: int) -> int:
    """Batches an epoch has; a last one of fewer than two images a device does not count."""
    whole, rest = divmod(count, batch_size)
    return whole + (rest >= 2 * world)


def eval_batch_size(device: str) -> int:
    """Images a forward pass of an evaluation; changes no result beyond rounding.

    Args:
        device: its type. On a CPU small batches, which its caches hold, took up to a third less time.
    """
    return 64 if device == "cpu" else 256


class EvalStream:
    """Batches of a fixed set in a fixed order; a rank takes every world-th image, none twice."""

    def __init__(self, images: Images, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self._images = images
        self._positions = np.arange(len(images))[rank::world]
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._positions) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        positions = self._images.placed(self._positions)
        for start in range(0, len(positions), self._batch_size):
            yield self._images.take(positions[start : start + self._batch_size])
