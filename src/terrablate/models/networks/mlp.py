"""The multilayer perceptron: the lectures' first network."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from terrablate.models.networks.layers import Activation, activation_layer, draw_uniform


class MLP(nn.Module):
    """Flatten, hidden dense layers with activation, one dense layer to the classes (Rumelhart et al. 1986).

    It sees no neighbourhood: the same permutation of the pixels of all images would leave it as good or as bad.
    Weights start as `draw_uniform` describes.

    Args:
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels: the first dense layer depends on it.
        hidden: units of each hidden layer.
        activation: relu, tanh or sigmoid.
    """

    def __init__(
        self, in_channels: int, num_classes: int, image_size: int, hidden: Sequence[int], activation: Activation
    ) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        units = in_channels * image_size * image_size
        for number, wanted in enumerate(hidden, 1):
            layers[f"dense{number}"] = nn.Linear(units, wanted)
            layers[f"act{number}"] = activation_layer(activation)
            units = wanted
        layers[f"dense{len(hidden) + 1}"] = nn.Linear(units, num_classes)
        self.head = nn.Sequential(OrderedDict(layers))
        draw_uniform(self, activation)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(images)

    def get_classifier(self) -> nn.Module:
        """The last dense layer."""
        return self.head[-1]
