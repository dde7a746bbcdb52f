"""The small stem: the first convolution becomes 3x3 with steps of one pixel, and no pooling follows it.

Networks for images of 224 pixels look at a quarter of the resolution after their stem, which leaves little of a chip of
32 or 64 pixels. He et al. 2016 (section 4.2) begin with 3x3 and no pooling on CIFAR's 32 pixels; so does `small`.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from terrablate.errors import ConfigError

_DEEPEST = 4
"""Convolutions of the deepest stems; a module that holds more is the backbone."""


def apply_stem(network: nn.Module, stem: Literal["native", "small"]) -> int:
    """Change the stem of a network in place; names of parameters stay.

    Of a stem of several convolutions (ResNet-D, LambdaNet) the first becomes 3x3 and all stop striding. Filters that
    were larger are cut to their middle and scaled by the ratio of the sides, so that outputs keep the variance that the
    network's own initialisation gives them; nothing is drawn anew, and the random stream goes on as it would have.

    Args:
        network: as built, on the meta device or not.
        stem: `native` changes nothing.

    Returns:
        How many layers were changed or removed.

    Raises:
        ConfigError: if the network has no stem of this kind, or one that is small already.
    """
    if stem == "native":
        return 0
    convolutions = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        raise ConfigError("model.stem=small: the network has no convolution; leave it at native")
    name, first = convolutions[0]
    if is_patch_embedding(network):
        patch = first.kernel_size[0]
        raise ConfigError(
            f"model.stem=small: the network begins with patches of {patch} pixels and has no convolutional stem; leave"
            f" it at native; in a network of timm +model.kwargs.patch_size={patch // 2} takes smaller patches instead"
        )
    if max(first.stride) == 1:
        raise ConfigError(
            f"model.stem=small: the first convolution ({name}) has steps of one pixel already; leave it at native"
        )
    if min(first.kernel_size) < 3 or max(first.dilation) > 1:
        raise ConfigError(
            f"model.stem=small: the first convolution ({name}) is {first.kernel_size[0]}x{first.kernel_size[1]} with"
            f" dilation {first.dilation[0]} and no stem that could become 3x3; leave it at native"
        )
    pools = list(_pools_of_stem(network, name))
    in_stem = [layer for layer in _stem_module(network, name).modules() if isinstance(layer, nn.Conv2d)]
    strided = [layer for layer in in_stem if max(layer.stride) > 1]
    for layer in strided:
        layer.stride = (1, 1)
    _make_three_by_three(first)
    for parent, child in pools:
        setattr(parent, child, nn.Identity())
    return len(strided) + len(pools)


def is_patch_embedding(network: nn.Module) -> bool:
    """Whether a network cuts images into patches that do not overlap, as transformers do.

    ConvNeXt's first convolution does that too, and is followed by convolutions: a stem.
    """
    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    if not found or found[0][1].kernel_size != found[0][1].stride or max(found[0][1].stride) == 1:
        return False
    return len(found) == 1 or "patch_embed" in found[0][0]


def _stem_module(network: nn.Module, first: str) -> nn.Module:
    """The outermost module around the first convolution that holds few convolutions."""
    parts = first.split(".")
    around = [network.get_submodule(".".join(parts[:depth])) for depth in range(1, len(parts) + 1)]
    return next(module for module in around if _convolutions(module) <= _DEEPEST)


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in module.modules())


def _pools_of_stem(network: nn.Module, first: str) -> Iterator[tuple[nn.Module, str]]:
    """Parent and name of the poolings before the first convolution that is no part of the stem."""
    inside = set(_stem_module(network, first).modules())
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and layer not in inside:
            return
        # timm's anti-aliased stems blur, and take every second pixel, after a pooling with steps of one
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) or type(layer).__name__.startswith("BlurPool"):
            parent, _, child = name.rpartition(".")
            yield network.get_submodule(parent), child


@torch.no_grad()
def _make_three_by_three(layer: nn.Conv2d) -> None:
    height, width = layer.kernel_size
    top, left = (height - 3) // 2, (width - 3) // 2
    if (height, width) != (3, 3):
        middle = layer.weight[:, :, top : top + 3, left : left + 3] * (height * width / 9) ** 0.5
        layer.weight = nn.Parameter(middle.contiguous())
        layer.kernel_size = (3, 3)
    if "Same" not in type(layer).__name__:  # TensorFlow's padding, which follows from the sizes
        layer.padding = (1, 1)
