"""Fine-tuning: which stages of a network train at an epoch, and how fast; frozen ones stay as they are to the bit."""

import itertools
import logging
import sys
from dataclasses import dataclass
from typing import Any

from torch import nn

from terrablate.config.schema import (
    BatchNorm,
    DiscriminativeFinetune,
    Finetune,
    FrozenFeatures,
    FullFinetune,
    GradualFinetune,
    HeadFinetune,
    NativeNorm,
    Norm,
)
from terrablate.errors import ConfigError
from terrablate.models.norm import statistics_layers
from terrablate.models.stages import Stage, stages

logger = logging.getLogger(__name__)


def first_trained(finetune: Finetune, count: int, epoch: int) -> int:
    """Index of the first of `count` stages that trains at an epoch, counted from 0; all stages after it do, too.

    A function of the epoch alone, so that a resumed run does as an undisturbed one. `gradual` follows Howard and Ruder
    2018: the head first, then one stage deeper each time.

    Returns:
        0 if all stages train, `count` if none does.
    """
    match finetune:
        case FullFinetune() | DiscriminativeFinetune():
            return 0
        case HeadFinetune():
            return count - 1
        case GradualFinetune(epochs_per_stage=epochs):
            return max(0, count - 1 - epoch // epochs)
        case FrozenFeatures():
            return count


def rate(finetune: Finetune, depth: int) -> float:
    """Learning rate of the stage `depth` stages before the head, as a share of the head's (Howard and Ruder 2018)."""
    return float(finetune.factor**depth) if isinstance(finetune, DiscriminativeFinetune) else 1.0


@dataclass(frozen=True)
class RateGroup:
    """Parameters that share a learning rate."""

    name: str
    parameters: list[nn.Parameter]
    rate: float
    """Share of the learning rate of the config."""


class Finetuning:
    """Freezes and thaws the stages of a network in place.

    What is never trained is frozen at once, since DistributedDataParallel must not wait for its gradients.

    Args:
        network: after surgery and loading of weights.
        finetune: the rule.
        norm: whether layers with running statistics are held in eval mode.

    Raises:
        ConfigError: if there is nothing but a head, so that the rule cannot act.
    """

    def __init__(self, network: nn.Module, finetune: Finetune, norm: Norm) -> None:
        self.network = network
        self.finetune = finetune
        self.stages = stages(network)
        if len(self.stages) == 1 and not isinstance(finetune, FullFinetune | FrozenFeatures):
            raise ConfigError(f"finetune={finetune.name}: the network has nothing before its head; use finetune=full")
        self._holds_statistics = isinstance(norm, NativeNorm | BatchNorm) and norm.frozen
        self._trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        self._first = self._first_ever = first_trained(finetune, len(self.stages), sys.maxsize)
        self._thaw(self._first_ever)

    def begin_epoch(self, epoch: int, *, is_distributed: bool) -> None:
        """Freeze and thaw for an epoch, counted from 0; the network must be put in train mode afterwards.

        Args:
            epoch: that begins.
            is_distributed: then stages that are still frozen keep `requires_grad`, which DistributedDataParallel reads
                only once, and `drop_gradients` keeps them still.
        """
        self._first = first_trained(self.finetune, len(self.stages), epoch)
        if not is_distributed:
            self._thaw(self._first)

    def hold(self) -> None:
        """Put back in eval mode what must not move: frozen stages wholly, with their dropout, and held statistics.

        To be called each time that the network was put in train mode.
        """
        frozen = {name for stage in self.stages[: self._first] for name in stage.modules}
        held = [module for name, module in self.network.named_modules() if name in frozen]
        for module in [*held, *(statistics_layers(self.network) if self._holds_statistics else [])]:
            module.training = False

    def drop_gradients(self) -> None:
        """Forget the gradients of frozen stages, so that the optimizer skips them: no decay, no momentum."""
        for stage in self.stages[: self._first]:
            for name in stage.parameters:
                self.network.get_parameter(name).grad = None

    def rate_groups(self) -> list[RateGroup]:
        """All parameters that train at some epoch by their learning rate, from the head to the first stage."""
        ever = reversed(self.stages[self._first_ever :])
        shares = [(stage, rate(self.finetune, depth)) for depth, stage in enumerate(ever)]
        groups = []
        for share, members in itertools.groupby(shares, key=lambda pair: pair[1]):
            together = [stage for stage, _ in members]
            last, first = together[0].name, together[-1].name
            parameters = [parameter for stage in together for parameter in self._parameters(stage)]
            groups.append(RateGroup(first if first == last else f"{first}..{last}", parameters, share))
        return groups

    def warn_of_budget(self, epochs: int) -> None:
        """Say so if a budget of epochs ends before every stage has trained."""
        count = len(self.stages)
        never = first_trained(self.finetune, count, epochs - 1)
        if not isinstance(self.finetune, GradualFinetune) or never == 0:
            return
        enough = (count - 1) * self.finetune.epochs_per_stage + 1
        shorter = (epochs - 1) // (count - 1)
        logger.warning(
            "finetune=%s: %d epochs end before %s of %d stages train; all do with epochs=%d%s",
            self.finetune.name,
            epochs,
            f"the first {never}" if never > 1 else "the first",
            count,
            enough,
            f" or finetune.epochs_per_stage={shorter}" if shorter else "",
        )

    def trainable_parameters(self, epoch: int) -> int:
        """How many parameters train at an epoch, counted from 0."""
        first = first_trained(self.finetune, len(self.stages), epoch)
        return sum(parameter.numel() for stage in self.stages[first:] for parameter in self._parameters(stage))

    def report(self, epochs: int) -> list[dict[str, Any]]:
        """For the record: each stage with the epoch, counted from 1, at which it began to train in so many epochs."""
        found = []
        for index, stage in enumerate(self.stages):
            began = (e for e in range(epochs) if first_trained(self.finetune, len(self.stages), e) <= index)
            found.append(
                {
                    "name": stage.name,
                    "parameters": sum(self.network.get_parameter(name).numel() for name in stage.parameters),
                    "trained_from_epoch": next((epoch + 1 for epoch in began), None),
                    "rate": rate(self.finetune, len(self.stages) - 1 - index),
                }
            )
        return found

    def _parameters(self, stage: Stage) -> list[nn.Parameter]:
        """Those that can train; some networks have fixed ones, such as position embeddings of sines."""
        return [self.network.get_parameter(name) for name in stage.parameters if name in self._trainable]

    def _thaw(self, first: int) -> None:
        for index, stage in enumerate(self.stages):
            for parameter in self._parameters(stage):
                parameter.requires_grad_(index >= first)
