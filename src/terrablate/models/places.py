"""Places inside a network that surgery on normalisation and on dropout have in common."""

import re

from torch import nn

from terrablate.models.heads import classifiers
from terrablate.models.networks import LocallyConnected2d

type Convolution = nn.Conv2d | LocallyConnected2d

_GATES = re.compile(
    r"SqueezeExcit\w*|SEModule|EffectiveSEModule|GatherExcite|GlobalContext|SelectiveKernelAttn|(Simple)?CoordAttn"
    r"|(Light)?(CbamModule|ChannelAttn|SpatialAttn)|(Ceca|Eca)Module"
)
"""Modules of timm and torchvision that weigh channels or pixels: squeeze-and-excitation (Hu et al. 2018), its kin."""


def inner_convolutions(network: nn.Module) -> list[Convolution]:
    """Convolutions of the features, in the order of their registration: not those of gates, nor the classifier.

    Locally connected layers are convolutions without weight sharing.
    """
    gates = [layer for layer in network.modules() if _GATES.fullmatch(type(layer).__name__)]
    excluded = {layer for part in (*gates, *classifiers(network)) for layer in part.modules()}
    found = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | LocallyConnected2d)]
    return [layer for layer in found if layer not in excluded]
