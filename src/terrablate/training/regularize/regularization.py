"""All regularisers of a run, as training meets them: in its loss, after its steps, in what is evaluated."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from terrablate.config.schema.regularize import Adversarial, Regularize
from terrablate.errors import ConfigError
from terrablate.models.pruning import Cut
from terrablate.models.pruning.cuts import Kept
from terrablate.training.regularize.averaging import Averaging
from terrablate.training.regularize.consistency import consistency, ramp
from terrablate.training.regularize.input_gradients import ImageLosses, evaluating, fgsm, pgd, squared_gradient
from terrablate.training.regularize.penalties import l1, l2_sp, penalised
from terrablate.training.regularize.prune import take


class Regularization:
    """What the chosen regularisers do; with none of them, nothing.

    No module: what it keeps belongs into no optimizer, and only the average into a checkpoint. The pretrained weights
    are there again whenever the run is resumed, because the network is filled with them first.

    Args:
        section: of the config.
        network: as it starts, with weights loaded and frozen what never trains.
        pretrained: names of its parameters that were loaded.
        total_steps: optimizer steps of the whole budget.
        alternatives: logits N,K to those of the questions of each image, as `task.Task` has them.

    Raises:
        ConfigError: if `l2_sp` has no pretrained weights that train.
    """

    def __init__(
        self,
        section: Regularize,
        network: nn.Module,
        pretrained: Collection[str],
        total_steps: int,
        alternatives: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits,
    ) -> None:
        self.section = section
        self.alternatives = alternatives
        self.total_steps = total_steps
        average = section.ema or section.swa
        self.averaging = Averaging(network, average) if average else None
        self._start: dict[str, torch.Tensor] = {}
        if section.l2_sp:
            self._start = {name: w.detach().clone() for name, w in penalised(network) if name in pretrained}
            if not self._start:
                raise ConfigError(
                    "regularize=l2_sp: of the parameters that train none has pretrained weights to stay near; use"
                    " another finetune, or leave l2_sp out"
                )

    def to(self, device: torch.device) -> None:
        """Move what is kept."""
        self._start = {name: value.to(device) for name, value in self._start.items()}
        if self.averaging:
            self.averaging.to(device)

    def cut(self, network: nn.Module, cuts: Sequence[Cut], kept: Kept) -> None:
        """Channels have left the network: take them out of what is kept.

        Args:
            network: as it is.
            cuts: that made it so.
            kept: what `cut_channels` gave for it.
        """
        if self.averaging:
            self.averaging.cut(cuts)
        for name in self._start.keys() & kept.keys():
            self._start[name] = take(self._start[name], kept[name], network.get_parameter(name).shape)

    def losses(
        self, network: nn.Module, losses: ImageLosses, images: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Losses of the images with `adversarial` and `smooth_input_gradient`: N.

        Changed images are attacked by the plain loss; the gradient is smoothed wherever a loss counts.

        Args:
            network: in train mode.
            losses: images N,C,H,W through the network to the loss of each, N.
            images: N,C,H,W as the network takes them.
            generator: draws where attacks start.
        """
        adversarial = self.section.adversarial
        if adversarial is None or adversarial.epsilon == 0:
            return self._smoothed(losses, images)
        share = adversarial.share
        clean = (1 - share) * self._smoothed(losses, images) if share < 1 else 0.0
        with evaluating(network):
            changed = _attacked(images, losses, adversarial, generator)
        return clean + share * self._smoothed(losses, changed)

    def penalty(self, network: nn.Module) -> torch.Tensor | None:
        """What `l1` and `l2_sp` add to the mean loss of an optimizer step; None for nothing."""
        penalties = []
        if (section := self.section.l1) and section.weight:
            penalties.append(l1(network, section.weight))
        if (near := self.section.l2_sp) and (near.weight or near.head_weight):
            penalties.append(l2_sp(network, self._start, near.weight, near.head_weight))
        return torch.stack(penalties).sum() if penalties else None

    @property
    def unlabelled_ratio(self) -> int:
        """Images without labels that a step takes for each with one."""
        section = self.section.consistency
        return section.ratio if section and section.weight else 0

    def consistency(self, network: nn.Module, plain: torch.Tensor, augmented: torch.Tensor, step: int) -> torch.Tensor:
        """What `consistency` adds to the sum of the losses of the images with labels.

        The plain answers are those of an evaluation: without dropout, by running statistics. Of several labels an image
        each class is a question of its own, which counts where its answer is sure; an image has their mean.

        Args:
            network: in train mode.
            plain: n,C,H,W without labels, as the network takes them; `unlabelled_ratio` times the images with labels.
            augmented: the same images, augmented.
            step: optimizer steps that were taken.
        """
        section = self.section.consistency
        assert section is not None
        # gradients first: autocast keeps the weights it has cast, also without a gradient
        answers = network(augmented)
        with evaluating(network), torch.no_grad():
            targets = network(plain)
        divergence = consistency(
            self.alternatives(targets),
            self.alternatives(answers),
            temperature=section.temperature,
            confidence=section.confidence,
        )
        divergence = divergence.view(len(plain), -1).mean(1)
        weight = section.weight * ramp(step, section.ramp_up * self.total_steps)
        return divergence.sum() * (weight / section.ratio)

    def _smoothed(self, losses: ImageLosses, images: torch.Tensor) -> torch.Tensor:
        section = self.section.smooth_input_gradient
        if section is None or section.weight == 0:
            return losses(images)
        images = images.detach().requires_grad_(True)
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            values = losses(images)
            return values + section.weight * squared_gradient(images, values)


def _attacked(
    images: torch.Tensor, losses: ImageLosses, section: Adversarial, generator: torch.Generator
) -> torch.Tensor:
    if section.steps == 1:
        return fgsm(images, losses, section.epsilon)
    step_size = section.step_size or 2.5 * section.epsilon / section.steps
    return pgd(images, losses, section.epsilon, section.steps, step_size, generator)
