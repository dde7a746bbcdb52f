"""The LightningDataModule around any source: packs it, draws the subsets, streams batches."""

import logging
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

from terrablate.config.schema import Config
from terrablate.data.batches import EvalStream, Images, TrainStream, steps_per_epoch
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.source import Split
from terrablate.data.subsets import Indices, per_class, stratified_sample
from terrablate.errors import DataError

logger = logging.getLogger(__name__)

_EVAL_BATCH = 256
"""Images a forward pass of an evaluation, a device; it changes no result beyond rounding."""


class ChipDataModule(lightning.LightningDataModule):
    """Train batches, and the two fixed sets that are evaluated: val and probe.

    Args:
        config: of the run.
        pack: the packed source; written or found if not given.
        world_size: processes that will share each batch.

    Raises:
        DataError: if a split is too small to train or to evaluate.
    """

    def __init__(self, config: Config, pack: Pack | None = None, world_size: int = 1) -> None:
        super().__init__()
        self.config = config
        self._world_size = world_size
        data = config.data
        self.pack = pack or ensure_pack(data, Path(config.packs_dir))
        train_labels, val_labels = self.pack.labels("train"), self.pack.labels("val")
        self.train_indices: Indices = np.arange(len(train_labels))
        self.val_indices: Indices = np.arange(len(val_labels))
        if data.train_per_class is not None:
            self.train_indices = per_class(train_labels, data.train_per_class, data.subset_seed, "train_per_class")
        if data.val_per_class is not None:
            self.val_indices = per_class(val_labels, data.val_per_class, data.split_seed, "val_per_class")
        limit = config.trainer.max_eval_images
        if limit is not None:
            kept = stratified_sample(val_labels[self.val_indices], limit, data.split_seed, "max_eval_images")
            self.val_indices = self.val_indices[kept]
        chosen = stratified_sample(train_labels[self.train_indices], len(self.val_indices), data.split_seed, "probe")
        self.probe_indices: Indices = self.train_indices[chosen]
        self._check(train_labels)
        self._stored: dict[str, Any] = {}

    def _check(self, train_labels: "np.ndarray[Any, Any]") -> None:
        name, classes = self.config.data.name, self.pack.classes
        if len(classes) < 2:
            raise DataError(f"data={name}: there is one class only ({classes[0]}); a classifier needs at least two")
        if len(self.train_indices) < 2 * self._world_size:
            raise DataError(
                f"data={name}: the train split has {len(self.train_indices)} images; it needs at least two for each"
                f" of the {self._world_size} processes"
            )
        if not len(self.val_indices):
            raise DataError(f"data={name}: the val split is empty")
        if self.config.batch_size > len(self.train_indices):
            logger.warning(
                "batch_size=%d exceeds the %d training images: every epoch is one step over all of them",
                self.config.batch_size,
                len(self.train_indices),
            )
        counts = np.bincount(train_labels[self.train_indices], minlength=len(classes))
        absent = [classes[label] for label in np.flatnonzero(counts == 0)]
        if absent:
            logger.warning("no training image of the classes %s", ", ".join(absent))
        wanted = self.config.data.train_per_class
        short = [f"{classes[label]} ({counts[label]})" for label in np.flatnonzero(counts < wanted)] if wanted else []
        if short:
            logger.warning("fewer than data.train_per_class=%d images: %s", wanted, ", ".join(short))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        steps = steps_per_epoch(len(self.train_indices), self.config.batch_size, self._world_size)
        limit = self.config.trainer.max_train_batches
        return steps if limit is None else min(steps, limit)

    def train_dataloader(self) -> TrainStream:
        """Shuffled, the same order for the same seed and epoch."""
        return TrainStream(
            self.images("train"),
            self.config.batch_size,
            self.config.seed,
            epoch=lambda: self.trainer.current_epoch if self.trainer else 0,
            steps=self._steps_of_epoch,
            rank=self._rank,
            world=self._world_size,
        )

    def _steps_of_epoch(self, epoch: int) -> int | None:
        """With a budget in steps the last epoch is cut short, so that it ends with an evaluation like any other."""
        if self.config.steps is None:
            return self.config.trainer.max_train_batches
        left = self.config.steps - epoch * self.steps_per_epoch
        return max(0, min(self.steps_per_epoch, left))  # Lightning asks once more after the last epoch

    def eval_stream(self, name: str) -> EvalStream:
        """The images of `val` or `probe` in a fixed order, unaugmented."""
        return EvalStream(self.images(name), _EVAL_BATCH, rank=self._rank, world=self._world_size)

    def images(self, name: str) -> Images:
        """The images of `train`, `val` or `probe`."""
        split: Split = "val" if name == "val" else "train"
        indices = {"train": self.train_indices, "val": self.val_indices, "probe": self.probe_indices}[name]
        return Images(self._storage(split), self.pack.labels(split), indices)

    def sample_ids(self, name: str) -> list[str]:
        """Names of the images of `train`, `val` or `probe`, in their order."""
        ids = self.pack.ids("val" if name == "val" else "train")
        indices = {"train": self.train_indices, "val": self.val_indices, "probe": self.probe_indices}[name]
        return [ids[index] for index in indices]

    def _storage(self, split: Split) -> Any:
        if split not in self._stored:
            self._stored[split] = self._load(split)
        return self._stored[split]

    def _load(self, split: Split) -> Any:
        mapped = self.pack.images(split)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        storage = self.config.data.storage
        if storage == "auto":
            storage = "mmap"
            if device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                storage = "device" if mapped.nbytes < free / 4 else "mmap"
        if storage == "mmap":
            return mapped
        in_memory = np.array(mapped)
        return torch.from_numpy(in_memory).to(device) if storage == "device" else in_memory

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0
