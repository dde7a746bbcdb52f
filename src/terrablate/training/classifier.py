"""The one LightningModule: any network as a classifier of chips."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from terrablate.augment.pipeline import Augmentation
from terrablate.config.schema import Config
from terrablate.data.batches import Batch, EvalStream, Images
from terrablate.data.module import ChipDataModule
from terrablate.models.finetune import Finetuning
from terrablate.models.pruning import Cut, cut_channels, cuts_of
from terrablate.models.pruning.cuts import Kept, with_cuts
from terrablate.random_streams import stream_seed
from terrablate.training.inputs import Inputs
from terrablate.training.losses import Loss
from terrablate.training.optimizers import accumulated_images, make_optimizer
from terrablate.training.regularize import Regularization
from terrablate.training.regularize.averaging import with_average
from terrablate.training.regularize.consistency import unlabelled_positions
from terrablate.training.regularize.prune import Pruning, cut_optimizer
from terrablate.training.sam import kept_buffers
from terrablate.training.schedules import make_plateau_schedule, make_step_schedule
from terrablate.training.task import task_of


class Classifier(lightning.LightningModule):
    """Trains a network on augmented batches; evaluates it without augmentation, in eval mode.

    Args:
        network: N,C,H,W to logits N,K; what `finetune` never trains is frozen in it.
        inputs: scale and standardisation.
        augment: of the training images, on the sensor's scale.
        loss: what is minimised.
        config: of the run.
        total_steps: optimizer steps of the whole budget, for schedules.
        steps_per_epoch: optimizer steps of an epoch, for schedules that count epochs.
        pretrained: names of the network's parameters that were loaded.
        cuts: channels that were removed from the network since it was built, as it starts.
        pruning: what removes channels while it trains.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Inputs,
        augment: Augmentation,
        loss: Loss,
        config: Config,
        *,
        total_steps: int,
        steps_per_epoch: int,
        pretrained: Collection[str] = (),
        cuts: Sequence[Cut] = (),
        pruning: Pruning | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.finetuning = Finetuning(network, config.finetune, config.norm)
        self.inputs = inputs
        self.config = config
        self.task = task_of(config.data)
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.augment = augment
        self.loss = loss
        self.regularization = Regularization(
            config.regularize, network, pretrained, total_steps, self.task.alternatives
        )
        self.cuts = list(cuts)
        self.pruning = pruning
        self.plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._generator: torch.Generator | None = None
        self._step_counters = (0, 0, 0)
        self._in_second_pass = False
        self._objective: torch.Tensor | None = None
        self._seen = 0
        self._steps_taken = 0
        self._unlabelled: Images | None = None

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the one that trains, or the average of its weights."""
        averaging = self.regularization.averaging
        average = averaging.network if averaging else None
        return self.network if average is None else average

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Images N,C,H,W as stored in a pack to logits N,K, for evaluation."""
        return self.evaluated(self.inputs(stored))

    def train(self, mode: bool = True) -> Self:
        """Train or eval mode, except that what is frozen stays in eval mode, whoever asks."""
        super().train(mode)
        self.finetuning.hold()
        return self

    def on_fit_start(self) -> None:
        """Find the images without labels; move what Lightning does not know of."""
        self.regularization.to(self.device)
        if self.regularization.unlabelled_ratio:
            self._unlabelled = self._data.unlabelled_images()

    def on_train_epoch_start(self) -> None:
        """Freeze and thaw what this epoch wants."""
        self._steps_taken = self.trainer.global_step
        self.finetuning.begin_epoch(self.current_epoch, is_distributed=self.trainer.world_size > 1)
        self.train()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Under DDP frozen stages have gradients, too."""
        self.finetuning.drop_gradients()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm; also before a fused step in bf16, which Lightning takes for one that unscales gradients."""
        if gradient_clip_val:
            self.trainer.precision_plugin.clip_grad_by_norm(optimizer, gradient_clip_val)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Put dropout and augmentation at the place of their streams that belongs to this step."""
        self._step_counters = (self.current_epoch, batch_idx, self.global_rank)
        self._seed_streams()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Follow the optimizer's steps, each of which may take several batches, or two passes."""
        if self.trainer.global_step > self._steps_taken:
            self._steps_taken = self.trainer.global_step
            if self.regularization.averaging:
                self.regularization.averaging.after_step(self.network)

    def _seed_streams(self) -> torch.Generator:
        if self._generator is None:
            self._generator = torch.Generator(self.device)
        seed = stream_seed(self.config.seed, "dropout", *self._step_counters)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed asks for all kinds of devices, which takes 2 ms
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)
        return self._generator.manual_seed(stream_seed(self.config.seed, "augmentation", *self._step_counters))

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Around a repeated training step of one batch, as SAM needs it: the same randomness, counted once."""
        self.finetuning.drop_gradients()
        self._seed_streams()
        self._in_second_pass = True
        try:
            with kept_buffers(self.network):
                yield
        finally:
            self._in_second_pass = False

    def training_view(self, stored: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Images as stored to images as augmented, on the sensor's scale, not standardised."""
        return self.augment(self.inputs.scale(stored), generator)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Mean loss over the images of the optimizer step, over all devices."""
        assert self._generator is not None
        images = self.training_view(batch["image"], self._generator)
        targets = self.task.targets(batch["label"], self._num_classes)
        images, targets = self.augment.mix(images, targets, self._generator)
        losses = self.regularization.losses(
            self.network,
            lambda images: self.loss(self.network(images), targets),
            self.inputs.standardise(images),
            self._generator,
        )
        total = losses.sum()
        if self._unlabelled is not None:
            total = total + self._consistency(self._unlabelled, batch["size"], batch_idx)
        if (penalty := self.regularization.penalty(self.network)) is not None:
            total = total + penalty * len(losses)  # as if it were a part of each image's loss
        if not self._in_second_pass:
            self._objective = total.detach() if self._objective is None else self._objective + total.detach()
            self._seen += batch["size"]
        # DDP averages gradients over ranks, and those of accumulated batches add up: this makes that the mean over all
        # images, however they are shared out
        return total * (self.trainer.world_size / self._images_of_step(batch, batch_idx))

    def _consistency(self, images: Images, size: int, batch_idx: int) -> torch.Tensor:
        """Of this process's share of the images without labels that belong to a batch of `size` with labels."""
        assert self._generator is not None
        ratio, epoch = self.regularization.unlabelled_ratio, self.current_epoch
        first = batch_idx * ratio * self.config.batch_size
        whole = unlabelled_positions(len(images), self.config.seed, epoch, first, ratio * size)
        share = images.take(whole[self.trainer.global_rank :: self.trainer.world_size])
        stored = share["image"].to(self.device, non_blocking=True)
        augmented = self.inputs.standardise(self.training_view(stored, self._generator))
        return self.regularization.consistency(
            self.network, self.inputs(stored), augmented, step=self.trainer.global_step
        )

    def _images_of_step(self, batch: Batch, batch_idx: int) -> int:
        """Images of the optimizer step to which a batch belongs, over all devices."""
        if self.config.optim.accumulate == 1:
            return batch["size"]
        count, batches = len(self._data.train_indices), int(self.trainer.num_training_batches)
        whole = min(self.config.batch_size, count)
        last = min(whole, count - (batches - 1) * self.config.batch_size)
        return accumulated_images(batch_idx, self.config.optim.accumulate, steps=batches, batch_size=whole, last=last)

    def read_objective(self) -> float:
        """Mean objective of the epoch that ends, in train mode: what the optimizer saw. Synchronises once."""
        total, images = self.take_objective()
        return float(total) / images

    def take_objective(self) -> tuple[torch.Tensor, int]:
        """Sum of the objective over the epoch that ends, on the device, and the images that it is a sum over."""
        assert self._objective is not None
        total, images = self.trainer.strategy.reduce(self._objective, reduce_op="sum"), self._seen
        self._objective, self._seen = None, 0
        return total, images

    @torch.inference_mode()
    def collect_logits(self, stream: EvalStream, count: int) -> torch.Tensor:
        """Logits of all `count` images of a stream, in their order: float32, count,K. All ranks get the same.

        Eval mode, no augmentation; under DDP each rank evaluates its share and none stands twice.
        """
        was_training = self.training
        self.eval()
        collected: torch.Tensor | None = None
        for batch in stream:
            with self.trainer.precision_plugin.val_step_context():
                logits = self(batch["image"].to(self.device, non_blocking=True)).float()
            if collected is None:
                collected = torch.zeros(count, logits.shape[1], device=self.device)
            collected[batch["position"].to(self.device, non_blocking=True)] = logits
        if collected is None:  # a rank without a share
            collected = torch.zeros(count, self._num_classes, device=self.device)
        self.train(was_training)
        if self.trainer.world_size > 1:
            # every image is nonzero on one rank only, so the sum puts the shares together
            collected = self.trainer.strategy.reduce(collected.clone(), reduce_op="sum")
        return collected.clone()

    @property
    def _data(self) -> ChipDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ChipDataModule)
        return data

    @property
    def _num_classes(self) -> int:
        return len(self._data.pack.classes)

    def synchronise_buffers(self) -> None:
        """Give all ranks the running statistics of rank 0, so that an evaluation is that of one set of weights."""
        if self.trainer.world_size > 1:
            for network in dict.fromkeys((self.network, self.evaluated)):
                for buffer in network.buffers():
                    torch.distributed.broadcast(buffer, src=0)

    def average_epoch(self, epochs: int) -> None:
        """Let the average follow the epoch that ends, before it is evaluated.

        Args:
            epochs: of the budget.
        """
        if self.regularization.averaging:
            with self.trainer.precision_plugin.val_step_context():
                self.regularization.averaging.after_epoch(
                    self.network, self.current_epoch + 1, epochs, self._inputs_of_epoch()
                )

    def _inputs_of_epoch(self) -> Iterator[torch.Tensor]:
        """The images of an epoch once more, augmented and not mixed; all of them in each process."""
        epoch = self.current_epoch
        generator = torch.Generator(self.device).manual_seed(stream_seed(self.config.seed, "statistics", epoch))
        for batch in self._data.statistics_stream(epoch):
            stored = batch["image"].to(self.device, non_blocking=True)
            yield self.inputs.standardise(self.training_view(stored, generator))

    def prune_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """Remove the channels that go at the end of this epoch, after it was evaluated; training goes on without them.

        Args:
            optimizer: of the run.
        """
        if self.pruning and (cuts := self.pruning.cuts(self.network, self.current_epoch + 1)):
            before = dict(self.network.named_parameters())
            kept = self._cut(cuts)
            cut_optimizer(optimizer, before, self.network, kept)

    def take_cuts_of(self, checkpoint: Mapping[str, Any]) -> None:
        """Give the network the shapes that it has in a checkpoint of this run; weights are loaded afterwards."""
        self._cut(cuts_of(checkpoint)[len(self.cuts) :])

    def _cut(self, cuts: Sequence[Cut]) -> Kept:
        kept = cut_channels(self.network, cuts)
        if self.config.trainer.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.regularization.cut(self.network, cuts, kept)
        self.cuts += cuts
        return kept

    def deployed_state(self) -> dict[str, torch.Tensor]:
        """The state dict, with what is evaluated in place of what trains."""
        averaging = self.regularization.averaging
        return with_average(self.state_dict(), averaging.state_dict()) if averaging else self.state_dict()

    def deploy(self) -> None:
        """Training is over: from here on the network is what was evaluated."""
        self.load_state_dict(self.deployed_state())
        self.regularization.averaging = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and schedules that follow the step; one that follows val NLL is stepped after evaluations."""
        optimizer = make_optimizer(self.finetuning.rate_groups(), self.config.optim, second_pass=self.second_pass)
        self.plateau = make_plateau_schedule(optimizer, self.config.schedule)
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
        schedule = make_step_schedule(optimizer, self.config.schedule, self.total_steps, self.steps_per_epoch)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what Lightning does not know of: removed channels, the state of a schedule, and the average."""
        checkpoint.update(with_cuts({}, self.cuts))
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()
        if self.regularization.averaging:
            checkpoint["averaging"] = self.regularization.averaging.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.take_cuts_of(checkpoint)
        if self.regularization.averaging:
            self.regularization.averaging.load_state_dict(checkpoint["averaging"])
        self._plateau_state = checkpoint.get("plateau")
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
