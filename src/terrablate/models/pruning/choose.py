"""Which channels go: the least important ones of those that can be removed without touching anything else.

Filters are ranked by their norm (Li et al. 2017, https://arxiv.org/abs/1608.08710), together with all that depends on
them (Fang et al. 2023, DepGraph, https://arxiv.org/abs/2301.12900), whose torch-pruning tells what does.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from terrablate.models.pruning.bundles import Bundle, bundles
from terrablate.models.pruning.cuts import Cut, Side

type Importance = Literal["l1", "l2", "random"]
type Scope = Literal["uniform", "global"]


def choose(
    network: nn.Module,
    shape: tuple[int, int, int],
    *,
    share: float,
    initial: Mapping[str, int],
    importance: Importance,
    scope: Scope,
    rng: np.random.Generator,
) -> list[Cut]:
    """Cuts after which a share of the channels that can be removed is gone; each layer keeps at least one.

    Channels of layers that are grouped (grouped convolutions, group normalisation) go in sets, one of each group at the
    same place. Ties are decided by the order of the channels.

    Args:
        network: stays as it is.
        shape: C,H,W of its images.
        share: of the channels that it had at first, to be gone afterwards; 0 to below 1.
        initial: how many these were, by layer; see `channel_counts`.
        importance: the norm by which channels are ranked, or chance.
        scope: `uniform` removes the same share of each layer, `global` the least important of all layers, each norm
            divided by the mean of its layer.
        rng: for `random`.

    Returns:
        At most one cut for each side of a layer; none if nothing can be removed.
    """
    found = bundles(network, shape, 1 if importance == "l1" else 2)
    scores = [
        torch.from_numpy(rng.random(bundle.units)) if importance == "random" else bundle.norms for bundle in found
    ]
    pick = _uniform if scope == "uniform" else _global
    cuts: defaultdict[tuple[str, Side], set[int]] = defaultdict(set)
    for bundle, units in zip(found, pick(found, scores, share, initial), strict=True):
        for place, channels in bundle.channels_of(units).items():
            cuts[place] |= channels
    return [(layer, side, sorted(channels)) for (layer, side), channels in cuts.items() if channels]


def _uniform(
    found: list[Bundle], scores: list[torch.Tensor], share: float, initial: Mapping[str, int]
) -> list[list[int]]:
    """Of each bundle the units that go."""
    chosen = []
    for bundle, score in zip(found, scores, strict=True):
        before = initial[bundle.layer] // bundle.blocks
        left = max(1, before - math.floor(share * before + 0.5))
        chosen.append(score.argsort(stable=True)[: max(0, bundle.units - left)].tolist())
    return chosen


def _global(
    found: list[Bundle], scores: list[torch.Tensor], share: float, initial: Mapping[str, int]
) -> list[list[int]]:
    before = sum(initial[bundle.layer] for bundle in found)
    gone = before - sum(bundle.units * bundle.blocks for bundle in found)
    ranked = sorted(
        (float(value), number, unit)
        for number, score in enumerate(scores)
        for unit, value in enumerate(score / score.mean())
    )
    chosen: list[list[int]] = [[] for _ in found]
    for _, number, unit in ranked:
        bundle = found[number]
        if gone + bundle.blocks > math.floor(share * before + 0.5):
            break
        if len(chosen[number]) < bundle.units - 1:
            chosen[number].append(unit)
            gone += bundle.blocks
    return chosen
