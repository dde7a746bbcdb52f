"""Networks of our own: the lecture's LeNet and a small modern CNN. All others come from timm."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn


class NormPlace(nn.Identity):
    """A place where `norm=...` puts a normalisation layer; changes nothing by itself.

    Args:
        channels: of the tensor that passes, N,C,H,W.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels


class LeNet(nn.Module):
    """Two 5x5 convolutions, two average poolings, sigmoids, two dense layers (after LeCun et al. 1998).

    Weights start as Glorot and Bengio 2010 propose, without which sigmoids hardly learn.

    Args:
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels, at least 16: the first dense layer depends on it.
        hidden: units of the first dense layer.
    """

    def __init__(self, in_channels: int, num_classes: int, image_size: int, hidden: int) -> None:
        super().__init__()
        side = max(1, ((image_size - 4) // 2 - 4) // 2)  # smaller images are refused when the network is tried
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 6, 5),
                act1=nn.Sigmoid(),
                pool1=nn.AvgPool2d(2),
                conv2=nn.Conv2d(6, 16, 5),
                act2=nn.Sigmoid(),
                pool2=nn.AvgPool2d(2),
            )
        )
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense1=nn.Linear(16 * side * side, hidden),
                act=nn.Sigmoid(),
                dense2=nn.Linear(hidden, num_classes),
            )
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The last dense layer."""
        return self.head[-1]


class SmallCNN(nn.Module):
    """Four blocks of 3x3 convolution, ReLU and max pooling, then global average pooling and a dense layer.

    Weights start as He et al. 2015 propose.

    Args:
        in_channels: bands.
        num_classes: classes.
        width: channels of the first block; they double from block to block.
        norm_position: whether `norm=...` stands before or after the activation.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int, norm_position: Literal["before", "after"]
    ) -> None:
        super().__init__()
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for number in range(4):
            wider = width * 2**number
            layers: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(channels, wider, 3, padding=1))
            if norm_position == "before":
                layers["norm"] = NormPlace(wider)
            layers["act"] = nn.ReLU()
            if norm_position == "after":
                layers["norm"] = NormPlace(wider)
            layers["pool"] = nn.MaxPool2d(2)
            blocks[f"block{number + 1}"] = nn.Sequential(layers)
            channels = wider
        self.features = nn.Sequential(blocks)
        self.head = nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), dense=nn.Linear(channels, num_classes))
        )
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The dense layer."""
        return self.head[-1]


def classifiers(network: nn.Module) -> list[nn.Module]:
    """The last layers of a network, as its `get_classifier()` tells: one, or several where it has several heads."""
    get_classifier = getattr(network, "get_classifier", None)
    found = get_classifier() if get_classifier else None
    layers = found if isinstance(found, tuple | list | nn.ModuleList) else [found]
    return [layer for layer in layers if isinstance(layer, nn.Module)]
