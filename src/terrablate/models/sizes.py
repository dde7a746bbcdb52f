"""Image sizes that a network takes, found by trying: only shapes are computed, on torch's meta device."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from terrablate.config.schema import Model, TimmModel, TorchvisionModel
from terrablate.errors import ConfigError
from terrablate.models.native import native_network
from terrablate.models.stem import apply_stem, is_patch_embedding

REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError)
"""What networks raise when images do not suit them."""
_STEP, _MOST, _STEP_DOWN = 32, 512, 16
"""The search looks at every 32 pixels upwards and every 16 downwards, and then between two of these."""


@dataclass(frozen=True)
class NearSizes:
    """Sides in pixels next to one that a network refuses; None where none was found."""

    below: int | None
    above: int | None

    def sentence(self, refused: int) -> str:
        """What the network needs and what to do, as the end of an error message; empty if no size was found."""
        near = [size for size in (self.below, self.above) if size is not None]
        if not near:
            return ""
        if self.below is None:
            needs = f"needs images of at least {self.above} pixels a side, data gives {refused}"
        else:
            needs = f"cannot take images of {refused} pixels a side, but of {' or '.join(map(str, near))}"
        return f"{needs}; data.image_size={near[-1]} resizes"


def smallest_size(model: Model, in_channels: int = 3, num_classes: int = 2) -> int | None:
    """Side in pixels of the smallest square images that a network takes in eval mode; None beyond 512.

    The network is built for several sizes, with its stem and its native normalisation and dropout.
    """
    return search(lambda size: takes(model, in_channels, num_classes, size), 0).above


def near_sizes(model: Model, in_channels: int, num_classes: int, refused: int) -> NearSizes:
    """Sizes that a network takes near one that it, or its surgery, refused.

    Returns:
        No sizes where the network itself would take that one.

    Raises:
        ConfigError: if the small stem is at fault, and not the size.
    """

    def accepts(size: int) -> bool:
        return takes(model, in_channels, num_classes, size)

    if accepts(refused):
        return NearSizes(None, None)
    if isinstance(model, TimmModel | TorchvisionModel) and model.stem == "small":
        native = dataclasses.replace(model, stem="native")
        if takes(native, in_channels, num_classes, refused):
            raise ConfigError(
                f"model.stem=small: model={model.name} cannot take the larger maps that follow; leave it at native"
            )
    return search(accepts, refused)


def takes(model: Model, in_channels: int, num_classes: int, size: int) -> bool:
    """Whether a network with its stem can be built for images of this side and passes them on, in eval mode."""
    try:
        with torch.device("meta"), torch.no_grad():
            network = native_network(model, in_channels, num_classes, size)
            if isinstance(model, TimmModel | TorchvisionModel):
                apply_stem(network, model.stem)
            require_whole_patches(network, size)
            network.eval()(torch.zeros(2, in_channels, size, size))
    except (*REFUSALS, ConfigError):
        return False
    return True


def require_whole_patches(network: nn.Module, size: int) -> None:
    """Transformers that are told the size would leave out the pixels beyond the last whole patch, silently.

    Raises:
        ValueError: if the side is no multiple of the patches.
    """
    if not is_patch_embedding(network) or getattr(getattr(network, "patch_embed", None), "dynamic_img_pad", False):
        return
    patches = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    if size % patches.kernel_size[0]:
        raise ValueError(f"{size} pixels are no multiple of the patches' {patches.kernel_size[0]}")


def search(accepts: Callable[[int], bool], refused: int) -> NearSizes:
    """Sizes next to one that is refused; 0 is always refused.

    Exact where larger images are always accepted; where sizes must be multiples, as of patches, a size that works is
    found in either direction, and not always the nearest.
    """
    larger = range(refused // _STEP * _STEP + _STEP, _MOST + 1, _STEP)
    smaller = range((refused - 1) // _STEP_DOWN * _STEP_DOWN, 0, -_STEP_DOWN)
    above = next((size for size in larger if accepts(size)), None)
    below = next((size for size in smaller if accepts(size)), None)
    return NearSizes(
        below=None if below is None else _towards(accepts, below, refused),
        above=None if above is None else _towards(accepts, above, refused),
    )


def _towards(accepts: Callable[[int], bool], accepted: int, refused: int) -> int:
    """An accepted size whose neighbour towards the refused one is refused, by bisection."""
    while abs(accepted - refused) > 1:
        middle = (accepted + refused) // 2
        if accepts(middle):
            accepted = middle
        else:
            refused = middle
    return accepted
