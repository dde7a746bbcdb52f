"""Normalisation layers that torch lacks: channels in the last dimension, and refusal of what has nothing to normalise.

The normalisation of a single value is its shift, whatever the value: the layer would pass nothing on.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import nn


class LastDimBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the last dimension of any tensor, as layer normalisation of tokens has it."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """...,C to ...,C."""
        return super().forward(values.reshape(-1, values.shape[-1])).reshape(values.shape)


class SyncLastDimBatchNorm(nn.SyncBatchNorm):
    """The same, with statistics of all processes' values."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """...,C to ...,C."""
        return super().forward(values.reshape(-1, values.shape[-1])).reshape(values.shape)


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018) of each image, over the channels of a group and all pixels."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """N,C,... to N,C,...

        Raises:
            ValueError: if a group holds one value.
        """
        if values[0].numel() == self.num_groups:
            raise ValueError(
                "norm=group: a group of one channel in a map of one pixel has nothing to normalise;"
                " use larger images, fewer norm.groups, or another norm"
            )
        return super().forward(values)


class LastDimGroupNorm(GroupNorm):
    """Group normalisation of each token or pixel, over the channels of a group in the last dimension."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """...,C to ...,C."""
        return super().forward(values.reshape(-1, values.shape[-1])).reshape(values.shape)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation (Ulyanov et al. 2016): each channel of each image, over its pixels."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """N,C,... to N,C,...

        Raises:
            ValueError: if there is one pixel.
        """
        if values[0, 0].numel() == 1:
            raise ValueError(
                "norm=instance: one value per channel, as after global pooling, has nothing to normalise;"
                " use larger images, or another norm in this network"
            )
        return F.instance_norm(values, weight=self.weight, bias=self.bias, eps=self.eps)


class LastDimInstanceNorm(InstanceNorm):
    """Instance normalisation where channels come last: each channel of each image, over all dimensions between."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """N,...,C to N,...,C."""
        channels_first = values.reshape(values.shape[0], -1, values.shape[-1]).transpose(1, 2)
        return super().forward(channels_first).transpose(1, 2).reshape(values.shape)


def append(layer: nn.Module, name: str, then: nn.Module) -> None:
    """Let `then` act on the output of a layer, as its child, which leaves the names of the layer's parameters alone."""
    layer.add_module(name, then.train(layer.training))
    layer.register_forward_hook(lambda module, _, output: module.get_submodule(name)(output))
