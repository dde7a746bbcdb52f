"""The LightningDataModule around any source: packs it, draws the subsets, streams batches."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

from terrablate.config.schema import Config
from terrablate.data.batches import Batch, EvalStream, Images, TrainStream, eval_batch_size, steps_per_epoch
from terrablate.data.imbalance import long_tail
from terrablate.data.label_noise import Confusion, confusion_matrix, noisy
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.paging import images_for_reading, ram
from terrablate.data.source import Labels, Split
from terrablate.data.subsets import Indices, count_classes, per_class, stratified_sample
from terrablate.errors import DataError

logger = logging.getLogger(__name__)


class ChipDataModule(lightning.LightningDataModule):
    """Train batches, and the two fixed sets that are evaluated: val and probe.

    What is trained on is chosen in this order, all of it by `data.subset_seed` and none of it in val: the label budget
    (`train_per_class`), the long tail (`imbalance`, which cuts the budgets of the classes one after the other), and
    wrong labels (`label_noise`), which are drawn for the whole split, so that each subset has the same ones. Budget and
    tail count true classes; `sampler=balanced` and class weights count the labels that are given, as they would if
    nobody knew of the mistakes.

    The probe keeps its true labels, like val. So under label noise the gap compares both sides on the truth, and
    learning wrong labels by heart raises probe NLL, too: it shows as a worse probe and a worse val rather than as a
    wider gap. Under an imbalance the probe has the long tail of what is trained on and val has not, so the gap holds
    this change of class frequencies as well.

    `debug` may then cut all three sets further.

    Of several labels an image, a budget is the least number of images that show a class, and the probe has about the
    class frequencies of what is trained on: `terrablate.data.stratification`.

    Args:
        config: of the run.
        pack: the packed source; written or found if not given.
        world_size: processes that will share each batch.

    Raises:
        DataError: if a split is too small to train or to evaluate, a confusion file is wrong, or an imbalance or
            balanced sampling would change nothing.
    """

    def __init__(self, config: Config, pack: Pack | None = None, world_size: int = 1) -> None:
        super().__init__()
        self.config = config
        self._world_size = world_size
        data = config.data
        self.pack = pack or ensure_pack(data, Path(config.packs_dir))
        train_labels, val_labels = self.pack.labels("train"), self.pack.labels("val")
        self._check_classes()
        self.train_indices: Indices = self._choose(train_labels)
        self._confusion: Confusion | None = None
        self.given_labels: Labels = train_labels
        """Labels of the whole train split as they are trained on; wrong ones where `data.label_noise` says so."""
        if data.label_noise is not None:
            self._confusion = confusion_matrix(data.label_noise, self.pack.classes)
            self.given_labels = noisy(train_labels, self._confusion, data.subset_seed)
        self.val_indices: Indices = np.arange(len(val_labels))
        if data.val_per_class is not None:
            self.val_indices = per_class(val_labels, data.val_per_class, data.split_seed, "val_per_class")
        limit = config.debug.max_eval_images
        if limit is not None:
            kept = stratified_sample(val_labels[self.val_indices], limit, data.split_seed, "max_eval_images")
            self.val_indices = self.val_indices[kept]
        chosen = stratified_sample(train_labels[self.train_indices], len(self.val_indices), data.split_seed, "probe")
        self.probe_indices: Indices = self.train_indices[chosen]
        self._check(train_labels)
        self._stored: dict[tuple[Split, torch.device], Any] = {}

    def _check_classes(self) -> None:
        name, classes = self.config.data.name, self.pack.classes
        if len(classes) < 2:
            raise DataError(f"data={name}: there is one class only ({classes[0]}); a classifier needs at least two")

    def _choose(self, labels: Labels) -> Indices:
        """The images that are trained on."""
        few, chosen = self.config.debug.train_images, self._budgeted(labels)
        if few is None:
            return chosen
        return chosen[stratified_sample(labels[chosen], few, self.config.data.subset_seed, "debug")]

    def _budgeted(self, labels: Labels) -> Indices:
        """Those that label budget and long tail leave."""
        data = self.config.data
        if data.train_per_class is None and data.imbalance is None:
            return np.arange(len(labels))
        if self.pack.has_several_labels:
            assert data.train_per_class is not None  # a long tail is refused
            return per_class(labels, data.train_per_class, data.subset_seed, "train_per_class")
        budget = count_classes(labels, len(self.pack.classes))
        if data.train_per_class is not None:
            budget = np.minimum(budget, data.train_per_class)
        if data.imbalance is not None:
            tail = long_tail(budget, data.imbalance)
            if data.imbalance > 1 and tail.sum() == budget.sum():
                raise DataError(
                    f"data.imbalance={data.imbalance:g}: leaves out none of the {budget.sum()} training images; raise"
                    " it, or take more images of each class"
                )
            budget = tail
        return per_class(labels, budget, data.subset_seed, "train_per_class")

    def _check(self, train_labels: Labels) -> None:
        name, classes = self.config.data.name, self.pack.classes
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
        counts = self.class_counts
        absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if absent:
            logger.warning("no training image of the classes %s", ", ".join(absent))
        wanted = self.config.data.train_per_class
        there = count_classes(train_labels, len(classes))
        short = [f"{classes[label]} ({there[label]})" for label in np.flatnonzero(there < wanted)] if wanted else []
        if short:
            logger.warning("fewer than data.train_per_class=%d images: %s", wanted, ", ".join(short))
        if self.config.data.label_noise and not self.changed_labels:
            logger.warning(
                "data.label_noise=%s changes none of the %d labels; all of them stay true",
                self.config.data.label_noise,
                len(self.train_indices),
            )
        if self.config.data.sampler == "balanced" and len({count for count in counts if count > 0}) < 2:
            raise DataError(
                "data.sampler=balanced: all classes have equally many training images, so that it changes nothing; use"
                " data.sampler=shuffle"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        steps = steps_per_epoch(len(self.train_indices), self.config.batch_size, self._world_size)
        limit = self.config.debug.max_train_batches
        return steps if limit is None else min(steps, limit)

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class, K, by the labels that they are trained on."""
        return count_classes(self.given_labels[self.train_indices], len(self.pack.classes)).tolist()

    @property
    def true_labels(self) -> Labels:
        """True labels of the training images, in the order of `images("train")`."""
        return self.pack.labels("train")[self.train_indices]

    @property
    def changed_labels(self) -> int:
        """Training images whose label is wrong on purpose."""
        return int((self.given_labels[self.train_indices] != self.true_labels).sum())

    @property
    def fingerprint(self) -> str:
        """Of the packed data and of the label noise: the pack's own where no label can be wrong."""
        if self._confusion is None or (np.diag(self._confusion) == 1).all():
            return self.pack.fingerprint
        digest = hashlib.sha256(f"{self.pack.fingerprint}\0label_noise\0".encode())
        digest.update(self._confusion.astype("<f8").tobytes())
        return digest.hexdigest()

    @property
    def optimizer_steps_per_epoch(self) -> int:
        """Steps of the optimizer, each of which accumulates `optim.accumulate` batches."""
        return -(-self.steps_per_epoch // self.config.optim.accumulate)

    def train_dataloader(self) -> TrainStream:
        """In the order of `data.sampler`, the same for the same seed and epoch."""
        return TrainStream(
            self.images("train"),
            self.config.batch_size,
            self.config.seed,
            epoch=lambda: self.trainer.current_epoch if self.trainer else 0,
            steps=self._steps_of_epoch,
            sampler=self.config.data.sampler,
            rank=self._rank,
            world=self._world_size,
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's own looks for tensors in whatever a batch may be, in each step."""
        if batch["image"].device == device:  # as on the CPU
            return batch
        return {
            "image": batch["image"].to(device, non_blocking=True),
            "label": batch["label"].to(device, non_blocking=True),
            "position": batch["position"].to(device, non_blocking=True),
            "size": batch["size"],
        }

    def statistics_stream(self, epoch: int) -> TrainStream:
        """The batches of an epoch, from 0, once more, whole in each process."""
        return TrainStream(
            self.images("train"),
            self.config.batch_size,
            self.config.seed,
            epoch=lambda: epoch,
            steps=self._steps_of_epoch,
            sampler=self.config.data.sampler,
        )

    def _steps_of_epoch(self, epoch: int) -> int | None:
        """With a budget in steps the last epoch is cut short, so that it ends with an evaluation like any other."""
        if self.config.steps is None or self.config.debug.epochs is not None:
            return self.config.debug.max_train_batches
        left = (self.config.steps - epoch * self.optimizer_steps_per_epoch) * self.config.optim.accumulate
        return max(0, min(self.steps_per_epoch, left))  # Lightning asks once more after the last epoch

    def eval_stream(self, name: str) -> EvalStream:
        """The images of `val` or `probe` in a fixed order, unaugmented."""
        batch_size = eval_batch_size(self._device.type)
        return EvalStream(self.images(name), batch_size, rank=self._rank, world=self._world_size)

    def images(self, name: str) -> Images:
        """The images of `train`, `val` or `probe`; those of `train` with the labels that they are given."""
        split: Split = "val" if name == "val" else "train"
        return Images(self._storage(split), self._split_labels(name), self._indices(name))

    def labels(self, name: str) -> Labels:
        """Those of `images(name)`; no image is read for them."""
        return self._split_labels(name)[self._indices(name)]

    def _split_labels(self, name: str) -> Labels:
        return self.given_labels if name == "train" else self.pack.labels("val" if name == "val" else "train")

    def _indices(self, name: str) -> Indices:
        return {"train": self.train_indices, "val": self.val_indices, "probe": self.probe_indices}[name]

    def unlabelled_images(self) -> Images:
        """The training images whose labels `data.train_per_class` leaves out.

        Raises:
            DataError: if there are none.
        """
        labels, budget = self.pack.labels("train"), self.config.data.train_per_class
        assert budget is not None
        labelled = per_class(labels, budget, self.config.data.subset_seed, "train_per_class")
        indices = np.setdiff1d(np.arange(len(labels)), labelled)
        if not len(indices):
            raise DataError(
                f"data.train_per_class={budget}: leaves out no label of the {len(labels)} training images, and"
                " regularize=consistency needs images without; use less"
            )
        return Images(self._storage("train"), labels, indices)

    def sample_ids(self, name: str) -> list[str]:
        """Names of the images of `train`, `val` or `probe`, in their order."""
        ids = self.pack.ids("val" if name == "val" else "train")
        return [ids[index] for index in self._indices(name)]

    def _storage(self, split: Split) -> Any:
        device = self._device
        if (split, device) not in self._stored:  # images may be asked for before there is a trainer, and its device
            self._stored[split, device] = self._load(split, device)
        return self._stored[split, device]

    def _load(self, split: Split, device: torch.device) -> Any:
        """The images of a split where `data.storage` wants them; slots that share a GPU have a copy each."""
        mapped = self.pack.images(split)
        storage = self.config.data.storage
        if storage == "auto":
            storage = "mmap"
            if device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                storage = "device" if mapped.nbytes < min(free / 4, ram() / 2) else "mmap"
        if storage == "mmap":
            return images_for_reading(mapped)
        if mapped.nbytes > ram():
            raise DataError(
                f"data.storage={storage}: the {split} images take {mapped.nbytes / 2**30:.1f} GiB, and there are"
                f" {ram() / 2**30:.1f} GiB of RAM; use data.storage=mmap"
            )
        in_memory = np.array(mapped)
        return torch.from_numpy(in_memory).to(device) if storage == "device" else in_memory

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0
