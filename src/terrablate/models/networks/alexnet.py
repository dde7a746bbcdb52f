"""AlexNet as Krizhevsky et al. 2012 describe it; torchvision's is the narrower one of 2014."""

from collections import OrderedDict

import torch
from torch import nn


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, 96 filters of 11x11 first (Krizhevsky et al. 2012).

    Local response normalisation after the first two convolutions, overlapping max pooling (3x3, steps of two), dropout
    of 0.5 after the two dense layers of 4096. Convolutions 2, 4 and 5 see half of the channels each (two groups), as
    on the two graphics cards of the paper. The first convolution has no padding, which gives the paper's 55x55 at 227
    pixels (the paper says 224, where the arithmetic does not work out). Weights are drawn with a standard deviation of
    0.01; biases are one in convolutions 2, 4, 5 and the hidden dense layers, else zero (section 5).

    Args:
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels, at least 67: the first dense layer depends on it.
    """

    def __init__(self, in_channels: int, num_classes: int, image_size: int) -> None:
        super().__init__()
        side = (image_size - 11) // 4 + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1
        side = max(1, side)  # smaller images are refused when the network is tried
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 11, stride=4),
                act1=nn.ReLU(),
                norm1=_response_norm(),
                pool1=nn.MaxPool2d(3, 2),
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
                act2=nn.ReLU(),
                norm2=_response_norm(),
                pool2=nn.MaxPool2d(3, 2),
                conv3=nn.Conv2d(256, 384, 3, padding=1),
                act3=nn.ReLU(),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
                act4=nn.ReLU(),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
                act5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, 2),
            )
        )
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense6=nn.Linear(256 * side * side, 4096),
                act6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                dense7=nn.Linear(4096, 4096),
                act7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                dense8=nn.Linear(4096, num_classes),
            )
        )
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                assert layer.bias is not None
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.constant_(layer.bias, float(name[-1] in "24567"))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The last dense layer."""
        return self.head[-1]


def _response_norm() -> nn.LocalResponseNorm:
    """Over five channels, with the constants of section 3.3; torch divides the sum of squares by the channels."""
    return nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)
