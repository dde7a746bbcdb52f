"""The ResNets for small images, as He et al. 2016 built them for CIFAR-10 (section 4.2)."""

import torch
from torch import nn


class SubsampleAndPad(nn.Module):
    """The shortcut without parameters (option A of the paper): every second pixel, new channels of zeros around.

    Args:
        added: channels to add, half of them before and half behind.
    """

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to N,C+added,H/2,W/2."""
        before = self.added // 2
        return nn.functional.pad(values[:, :, ::2, ::2], (0, 0, 0, 0, before, self.added - before))

    def extra_repr(self) -> str:
        """The argument, for `repr`."""
        return f"added={self.added}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to what came in.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the first convolution; two where the shortcut subsamples.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.drop_path: nn.Module = nn.Identity()  # stochastic depth takes this place
        self.shortcut = nn.Identity() if stride == 1 else SubsampleAndPad(out_channels - in_channels)
        self.act2 = nn.ReLU()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to N,out,H/stride,W/stride."""
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(values)))))
        return self.act2(self.drop_path(residual) + self.shortcut(values))


class CifarResNet(nn.Module):
    """A 3x3 convolution, three stages of 16, 32 and 64 channels, global average pooling, one dense layer.

    The stages see the full, half and quarter resolution, each in (depth - 2) / 6 blocks. Names of parameters are those
    of the widely used implementation, whose CIFAR-10 weights therefore fit. Weights start as He et al. 2015 propose.

    Args:
        in_channels: bands.
        num_classes: classes.
        depth: 20, 32, 44, 56, 110 in the paper; any 6n + 2.
    """

    def __init__(self, in_channels: int, num_classes: int, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N,C,H,W to logits N,K."""
        values = self.act1(self.bn1(self.conv1(images)))
        values = self.layer3(self.layer2(self.layer1(values)))
        return self.linear(self.flatten(self.pool(values)))

    def get_classifier(self) -> nn.Module:
        """The dense layer."""
        return self.linear


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride=1 if in_channels == out_channels else 2)
    rest = [BasicBlock(out_channels, out_channels, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
