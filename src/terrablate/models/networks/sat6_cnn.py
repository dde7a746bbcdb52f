"""The CNN of the lecture for the SAT-6 chips of 28 pixels (Basu et al. 2015)."""

from collections import OrderedDict

import torch
from torch import nn

from terrablate.models.networks.layers import draw_uniform


class Sat6CNN(nn.Module):
    """Convolution 5x5 to 32, pooling, convolution 5x5 to 16, pooling, dense layers of 128 and 64, one to the classes.

    The convolutions have no padding and the poolings take the maximum of 2x2 pixels: the only reading under which the
    lecture's 73,492 parameters at 1x32x32 with 4 classes (32-28-14-10-5 pixels, 400 values before the dense layers)
    and 57,590 at 4x28x28 with 6 (28-24-12-8-4 pixels, 256 values) are both right. ReLU after every layer but the last;
    weights start as `draw_uniform` describes.

    Args:
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels, at least 16: the first dense layer depends on it.
    """

    def __init__(self, in_channels: int, num_classes: int, image_size: int) -> None:
        super().__init__()
        side = max(1, ((image_size - 4) // 2 - 4) // 2)  # smaller images are refused when the network is tried
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 32, 5),
                act1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(32, 16, 5),
                act2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
            )
        )
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense1=nn.Linear(16 * side * side, 128),
                act1=nn.ReLU(),
                dense2=nn.Linear(128, 64),
                act2=nn.ReLU(),
                dense3=nn.Linear(64, num_classes),
            )
        )
        draw_uniform(self, "relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The last dense layer."""
        return self.head[-1]
