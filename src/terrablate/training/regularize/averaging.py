"""Averages of the weights over training, which are evaluated and deployed in place of the last ones: EMA and SWA."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn

from terrablate.config.schema.regularize import EMA, SWA
from terrablate.models.pruning import Cut, cut_channels


def move_towards(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], decay: float) -> None:
    """One step of an exponential moving average, in place: `a <- decay * a + (1 - decay) * w`.

    Polyak and Juditsky 1992. What is no floating point, such as counters and tables of positions, is taken over.
    """
    for mean, value in zip(averaged, current, strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


@torch.no_grad()
def refresh_statistics(network: nn.Module, batches: Iterable[torch.Tensor], layers: Sequence[_NormBase]) -> None:
    """Take running statistics anew as the mean over all batches, each weighed by its images (Izmailov et al. 2018).

    Dropout and all other layers are in eval mode, as they will be when the statistics are used.

    Args:
        network: in eval mode.
        batches: inputs of the network, n,C,H,W.
        layers: those of the network with running statistics that are to be taken anew.
    """
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        seen = 0
        for images in batches:
            seen += len(images)
            for layer in layers:
                layer.momentum = len(images) / seen
            network(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.training = False


def with_average(state: dict[str, torch.Tensor], averaging: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with the averaged weights in place of those of `network`; the same if nothing was averaged yet.

    Args:
        state: of the module that holds the network.
        averaging: of `Averaging`.
    """
    if averaging["n_averaged"] == 0:
        return state
    names = (name for name in averaging if name.startswith("module."))
    return state | {f"network.{name.removeprefix('module.')}": averaging[name] for name in names}


def deployed(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of training without the average, which has become the network; others stay as they are."""
    if "averaging" not in checkpoint:
        return checkpoint
    rest = {name: value for name, value in checkpoint.items() if name != "averaging"}
    return rest | {"state_dict": with_average(checkpoint["state_dict"], checkpoint["averaging"])}


class Averaging:
    """The average of a network, apart from it: in eval mode, without gradients, in no optimizer.

    EMA follows every optimizer step, statistics and all; it starts as the weights after the first one. SWA follows the
    ends of epochs from `start` on (Izmailov et al. 2018, https://arxiv.org/abs/1803.05407), and takes running
    statistics anew, because the mean of weights has others than any of them.

    Args:
        network: whose weights are averaged.
        section: the kind of average.
    """

    def __init__(self, network: nn.Module, section: EMA | SWA) -> None:
        self.section = section
        if isinstance(section, EMA):

            def ema(averaged: Any, current: Any, _: Any) -> None:
                move_towards(averaged, current, section.decay)

            self._averaged = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
        else:
            self._averaged = AveragedModel(network, multi_avg_fn=get_swa_multi_avg_fn())  # type: ignore[no-untyped-call]
        self._averaged.requires_grad_(False).eval()

    @property
    def network(self) -> nn.Module | None:
        """The average; None as long as nothing was averaged."""
        return self._averaged.module if self._averaged.n_averaged > 0 else None

    def after_step(self, network: nn.Module) -> None:
        """An optimizer step was taken."""
        if isinstance(self.section, EMA):
            self._update(network)

    def after_epoch(self, network: nn.Module, epoch: int, epochs: int, batches: Iterable[torch.Tensor]) -> None:
        """An epoch has ended.

        Args:
            network: in train mode, with frozen layers in eval mode.
            epoch: counted from 1.
            epochs: of the budget.
            batches: training images as a network takes them, for its statistics; read only if needed.
        """
        if isinstance(self.section, EMA) or epoch < self.section.start * epochs:
            return
        self._update(network)
        pairs = zip(self._averaged.module.modules(), network.modules(), strict=True)
        layers = [averaged for averaged, current in pairs if isinstance(averaged, _NormBase) and current.training]
        layers = [layer for layer in layers if layer.track_running_stats]
        if layers:
            refresh_statistics(self._averaged.module, batches, layers)

    def cut(self, cuts: Sequence[Cut]) -> None:
        """Channels have left the network: they leave the average, too, and those that are left go on."""
        cut_channels(self._averaged.module, cuts)

    def to(self, device: torch.device) -> None:
        """Move the weights; the counter stays on the CPU, where reading it waits for nothing."""
        self._averaged.module.to(device)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self._averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._averaged.load_state_dict(state)

    @torch.no_grad()
    def _update(self, network: nn.Module) -> None:
        self._averaged.update_parameters(network)
