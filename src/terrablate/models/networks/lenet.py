"""LeNet of the lecture."""

from collections import OrderedDict

import torch
from torch import nn

from terrablate.models.networks.layers import Activation, Pooling, activation_layer, draw_uniform, pooling_layers


class LeNet(nn.Module):
    """Two 5x5 convolutions, each with activation and 2x2 pooling, then two dense layers (after LeCun et al. 1998).

    With `pooling="stride"` the convolutions step two pixels at a time and there is no pooling layer: at images of an
    even side the number of parameters stays the same. Weights start as `draw_uniform` describes.

    Args:
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels, at least 16 (13 with strides): the first dense layer depends
            on it.
        hidden: units of the first dense layer.
        pooling: average as in the lecture, max, or stride.
        activation: sigmoid as in the lecture, tanh or relu.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: int,
        hidden: int,
        pooling: Pooling = "average",
        activation: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        step = 2 if pooling == "stride" else 1
        side = image_size
        for _ in range(2):
            side = (side - 5) // 2 + 1 if pooling == "stride" else (side - 4) // 2
        side = max(1, side)  # smaller images are refused when the network is tried
        features: dict[str, nn.Module] = {"conv1": nn.Conv2d(in_channels, 6, 5, step)}
        features |= {"act1": activation_layer(activation), **pooling_layers(pooling, "pool1")}
        features |= {"conv2": nn.Conv2d(6, 16, 5, step)}
        features |= {"act2": activation_layer(activation), **pooling_layers(pooling, "pool2")}
        self.features = nn.Sequential(OrderedDict(features))
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense1=nn.Linear(16 * side * side, hidden),
                act=activation_layer(activation),
                dense2=nn.Linear(hidden, num_classes),
            )
        )
        draw_uniform(self, activation)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The last dense layer."""
        return self.head[-1]
