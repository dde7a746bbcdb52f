"""The locally connected network: local windows like a convolution's, but weights of their own at every position."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from terrablate.models.networks.layers import NormPlace, draw_uniform


class LocallyConnected2d(nn.Module):
    """A convolution without padding that does not share its weights over the positions (LeCun 1989).

    `weight` is (positions, out, in * kernel * kernel) and `bias` (positions, out), where positions run over the rows
    of the output; the inputs of a window are ordered as `nn.functional.unfold` orders them. Weights start as He et al.
    2015 propose for the inputs of one window, biases at zero.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        input_size: side of the square input in pixels.
        kernel_size: side of the windows.
        stride: pixels between windows.
    """

    def __init__(self, in_channels: int, out_channels: int, input_size: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = kernel_size, stride
        self.side = max(1, (input_size - kernel_size) // stride + 1)  # smaller inputs are refused by the first forward
        inputs = in_channels * kernel_size * kernel_size
        self.weight = nn.Parameter(torch.empty(self.side**2, out_channels, inputs))
        self.bias = nn.Parameter(torch.zeros(self.side**2, out_channels))
        bound = math.sqrt(6 / inputs)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to N,out,side,side."""
        windows = nn.functional.unfold(images, self.kernel_size, stride=self.stride)  # N, in * k * k, positions
        values = torch.einsum("nip,poi->npo", windows, self.weight) + self.bias
        return values.transpose(1, 2).reshape(-1, self.out_channels, self.side, self.side)

    def extra_repr(self) -> str:
        """The arguments, for `repr`."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"


class LocalCNN(nn.Module):
    """Locally connected layers with ReLU, then two dense layers.

    The same windows as a CNN, without weight sharing: it knows neighbourhoods, and must learn a pattern anew at every
    place. `norm=...` stands before each activation.

    Args:
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels: all layers depend on it.
        channels: of each locally connected layer.
        kernel: side of the windows in pixels.
        stride: pixels between windows.
        hidden: units of the first dense layer.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: int,
        channels: Sequence[int],
        kernel: int,
        stride: int,
        hidden: int,
    ) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        width, side = in_channels, image_size
        for number, wider in enumerate(channels, 1):
            local = LocallyConnected2d(width, wider, side, kernel, stride)
            layers |= {f"local{number}": local, f"norm{number}": NormPlace(wider), f"act{number}": nn.ReLU()}
            width, side = wider, local.side
        self.features = nn.Sequential(OrderedDict(layers))
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense1=nn.Linear(width * side * side, hidden),
                act=nn.ReLU(),
                dense2=nn.Linear(hidden, num_classes),
            )
        )
        draw_uniform(self.head, "relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The last dense layer."""
        return self.head[-1]
