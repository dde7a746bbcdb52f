"""A small modern CNN for chips of 64 pixels."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from terrablate.models.networks.layers import (
    Activation,
    NormPlace,
    Pooling,
    activation_layer,
    draw_normal,
    pooling_layers,
)


class SmallCNN(nn.Module):
    """Four blocks of 3x3 convolution, activation and 2x2 pooling, then global average pooling and a dense layer.

    With `pooling="stride"` the convolutions step two pixels at a time and there is no pooling layer; the number of
    parameters stays the same. Weights of the blocks start as `draw_normal` describes.

    Args:
        in_channels: bands.
        num_classes: classes.
        width: channels of the first block; they double from block to block.
        norm_position: whether `norm=...` stands before or after the activation.
        pooling: max, average, or stride.
        activation: relu, tanh or sigmoid.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int,
        norm_position: Literal["before", "after"],
        pooling: Pooling = "max",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        step = 2 if pooling == "stride" else 1
        blocks: dict[str, nn.Module] = {}
        channels = in_channels
        for number in range(4):
            wider = width * 2**number
            layers: dict[str, nn.Module] = {"conv": nn.Conv2d(channels, wider, 3, step, padding=1)}
            if norm_position == "before":
                layers["norm"] = NormPlace(wider)
            layers["act"] = activation_layer(activation)
            if norm_position == "after":
                layers["norm"] = NormPlace(wider)
            layers |= pooling_layers(pooling, "pool")
            blocks[f"block{number + 1}"] = nn.Sequential(OrderedDict(layers))
            channels = wider
        self.features = nn.Sequential(OrderedDict(blocks))
        self.head = nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), dense=nn.Linear(channels, num_classes))
        )
        draw_normal(self.features, activation)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The dense layer."""
        return self.head[-1]
