"""Pruning in training: at which epochs channels go, and an optimizer that goes on with what is left."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from terrablate.config.schema.regularize import Prune
from terrablate.errors import ConfigError
from terrablate.models.build import first_line
from terrablate.models.pruning import Cut, channel_counts, choose, cost, cut_channels
from terrablate.models.pruning.cuts import Kept
from terrablate.random_streams import numpy_stream

logger = logging.getLogger(__name__)


class Pruning:
    """When channels go and which: a function of the epoch and the weights alone, so that nothing need be kept of it.

    Args:
        section: of the config.
        network: as it starts; shares are of its channels.
        shape: C,H,W of its images.
        epochs: of the budget.
        seed: of the run.
    """

    def __init__(self, section: Prune, network: nn.Module, shape: tuple[int, int, int], epochs: int, seed: int) -> None:
        self.section = section
        self.shape = shape
        self.events = section.events(epochs)
        self._seed = seed
        self._channels = channel_counts(network)
        self._cost = cost(network, shape)

    def cuts(self, network: nn.Module, epoch: int) -> list[Cut]:
        """What leaves the network at the end of an epoch, counted from 1."""
        if epoch not in self.events:
            return []
        return choose(
            network,
            self.shape,
            share=self.events[epoch],
            initial=self._channels,
            importance=self.section.importance,
            scope=self.section.scope,
            rng=numpy_stream(self._seed, "prune", epoch),
        )

    def rehearse(self, network: nn.Module, name: str) -> None:
        """Go through all events on a copy, each with a pass forward and back, before anything is trained.

        Args:
            network: stays as it is.
            name: of the network, for messages.

        Raises:
            ConfigError: if it has no channels that can be removed, or does not survive it.
        """
        copied = copy.deepcopy(network).cpu().eval().requires_grad_(True)
        found = []
        for epoch in self.events:
            try:
                cuts = self.cuts(copied, epoch)
                cut_channels(copied, cuts)
                copied(torch.zeros(2, *self.shape)).sum().backward()
            except Exception as error:  # the graph, and networks whose shapes do not fit any more, fail in many ways
                raise ConfigError(
                    f"regularize=prune: model={name} cannot be pruned: its channels cannot be followed"
                    f" ({type(error).__name__}: {first_line(error)}); use another network, or leave prune out"
                ) from error
            found += cuts
        if self.events and not found:
            raise ConfigError(
                f"regularize=prune: no channels of model={name} can go at amount={self.section.amount:g}: too few, or"
                " all of them tokens, under attention, or otherwise tied; use another network, a larger amount, or"
                " leave prune out"
            )
        logger.info("prune: channels go at the ends of epochs %s", ", ".join(map(str, self.events)) or "none")

    def report(self, network: nn.Module, epochs: int) -> dict[str, Any]:
        """For the record.

        Args:
            network: that the run answers for.
            epochs: that were trained.
        """
        after, left = cost(network, self.shape), channel_counts(network)
        return {
            "parameters": {"before": self._cost.parameters, "after": after.parameters},
            "macs": {"before": self._cost.macs, "after": after.macs},
            "channels": {
                name: {"before": before, "after": left[name], "share": left[name] / before}
                for name, before in self._channels.items()
            },
            "events": [epoch for epoch in self.events if epoch < epochs],
        }


def cut_optimizer(
    optimizer: torch.optim.Optimizer, before: Mapping[str, nn.Parameter], network: nn.Module, kept: Kept
) -> None:
    """Let an optimizer go on with the parameters that a network has now, in the groups of those that it had.

    Its state is cut as they were: momenta of the values that are left go on. A parameter whose state has other shapes
    than its own, as that of factored optimizers, starts with a fresh one.

    Args:
        optimizer: of any kind, also around another.
        before: the parameters as they were, by name.
        network: as it is.
        kept: what `cut_channels` gave.
    """
    pairs = {before[name]: (network.get_parameter(name), places) for name, places in kept.items()}
    exchanged = {old: (new, places) for old, (new, places) in pairs.items() if new is not old}
    for group in optimizer.param_groups:
        group["params"] = [exchanged[each][0] if each in exchanged else each for each in group["params"]]
    inner = [getattr(optimizer, name, None) for name in ("base", "_base_optimizer")]  # of SAM, of timm's Lookahead
    for state in {id(each.state): each.state for each in (optimizer, *inner) if each is not None}.values():
        for old, (new, places) in exchanged.items():
            if old in state:
                found = _cut_state(state.pop(old), old, new, places)
                if found:
                    state[new] = found


def _cut_state(state: dict[str, Any], old: nn.Parameter, new: nn.Parameter, places: torch.Tensor) -> dict[str, Any]:
    """The state of a parameter for what is left of it; empty if it cannot be cut."""
    cut: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.ndim and value.shape == old.shape:
            # laid out in memory as the parameter, which fused steps rely on
            cut[name] = torch.empty_like(new, dtype=value.dtype).copy_(take(value, places, new.shape))
        elif value is None or isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.ndim == 0):
            cut[name] = value
        else:
            return {}
    return cut


def take(value: torch.Tensor, places: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The values at flat places, in a shape."""
    return value.flatten()[places.to(value.device)].view(shape)
