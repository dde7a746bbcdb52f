"""The one LightningModule: any network as a classifier of chips."""

from typing import Any, Self

import lightning
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from terrablate.augment.pipeline import Augmentation
from terrablate.config.schema import Config
from terrablate.data.batches import Batch, EvalStream
from terrablate.models.finetune import Finetuning
from terrablate.random_streams import stream_seed
from terrablate.training.inputs import Inputs
from terrablate.training.optimization import make_optimizer, make_plateau_schedule, make_step_schedule


class Classifier(lightning.LightningModule):
    """Trains a network with cross-entropy on augmented batches; evaluates it without augmentation, in eval mode.

    Args:
        network: N,C,H,W to logits N,K; what `finetune` never trains is frozen in it.
        inputs: scale and standardisation.
        spread: C, deviation of each band of the train split, on the sensor's scale.
        config: of the run.
        total_steps: optimizer steps of the whole budget, for schedules.
    """

    def __init__(
        self, network: nn.Module, inputs: Inputs, spread: torch.Tensor, config: Config, total_steps: int
    ) -> None:
        super().__init__()
        self.network = network
        self.finetuning = Finetuning(network, config.finetune, config.norm)
        self.inputs = inputs
        self.config = config
        self.total_steps = total_steps
        self.augment = Augmentation(config.aug.operations, spread)
        self.plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._generator: torch.Generator | None = None
        self._objective: torch.Tensor | None = None
        self._seen = 0

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Images N,C,H,W as stored in a pack to logits N,K."""
        return self.network(self.inputs(stored))

    def train(self, mode: bool = True) -> Self:
        """Train or eval mode, except that what is frozen stays in eval mode, whoever asks."""
        super().train(mode)
        self.finetuning.hold()
        return self

    def on_train_epoch_start(self) -> None:
        """Freeze and thaw what this epoch wants."""
        self.finetuning.begin_epoch(self.current_epoch, is_distributed=self.trainer.world_size > 1)
        self.train()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Under DDP frozen stages have gradients, too."""
        self.finetuning.drop_gradients()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Put dropout and augmentation at the place of their streams that belongs to this step."""
        if self._generator is None:
            self._generator = torch.Generator(self.device)
        where = (self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(stream_seed(self.config.seed, "dropout", *where))
        self._generator.manual_seed(stream_seed(self.config.seed, "augmentation", *where))

    def training_view(self, stored: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Images as stored to images as augmented, on the sensor's scale, not standardised."""
        return self.augment(self.inputs.scale(stored), generator)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Mean cross-entropy over the images of the step, over all devices."""
        assert self._generator is not None
        images = self.training_view(batch["image"], self._generator)
        logits = self.network(self.inputs.standardise(images))
        total = F.cross_entropy(logits, batch["label"], reduction="sum")
        # DDP averages gradients over ranks: this makes that the mean over all images, however they are shared out
        loss = total * (self.trainer.world_size / batch["size"])
        self._objective = total.detach() if self._objective is None else self._objective + total.detach()
        self._seen += batch["size"]
        return loss

    def read_objective(self) -> float:
        """Mean objective of the epoch that ends, in train mode: what the optimizer saw. Synchronises once."""
        assert self._objective is not None
        total = self.trainer.strategy.reduce(self._objective, reduce_op="sum")
        mean = float(total) / self._seen
        self._objective, self._seen = None, 0
        return mean

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
            collected = torch.zeros(count, self._num_classes(), device=self.device)
        self.train(was_training)
        if self.trainer.world_size > 1:
            # every image is nonzero on one rank only, so the sum puts the shares together
            collected = self.trainer.strategy.reduce(collected.clone(), reduce_op="sum")
        return collected.clone()

    def _num_classes(self) -> int:
        assert self.trainer.datamodule is not None  # type: ignore[attr-defined]
        return len(self.trainer.datamodule.pack.classes)  # type: ignore[attr-defined]

    def synchronise_buffers(self) -> None:
        """Give all ranks the running statistics of rank 0, so that an evaluation is that of one set of weights."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and schedules that follow the step; one that follows val NLL is stepped after evaluations."""
        optimizer = make_optimizer(self.finetuning.rate_groups(), self.config.optim)
        self.plateau = make_plateau_schedule(optimizer, self.config.schedule)
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
        schedule = make_step_schedule(optimizer, self.config.schedule, self.total_steps)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of a schedule that Lightning does not know of."""
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self._plateau_state = checkpoint.get("plateau")
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
