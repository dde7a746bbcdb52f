"""Networks of torchvision, for any number of bands."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

_SINGLE_OUTPUT: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Without auxiliary heads, which would make the output a tuple; with the authors' initial weights, without asking."""


def torchvision_network(
    name: str, in_channels: int, num_classes: int, image_size: int, kwargs: Mapping[str, Any]
) -> nn.Module:
    """`torchvision.models.get_model` without weights, told the image size where the network must know it.

    Args:
        name: one of `terrablate.models.torchvision_index.model_names`.
        in_channels: bands; the first convolution is built for them and drawn by the network's own scheme.
        num_classes: classes.
        image_size: side of the square images in pixels.
        kwargs: passed on; they win over ours.

    Raises:
        TypeError, ValueError, AssertionError: if torchvision refuses the arguments.
    """
    from torchvision.models import get_model

    options: dict[str, Any] = dict(_SINGLE_OUTPUT.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = image_size
    elif name.startswith("maxvit_"):
        options["input_size"] = (image_size, image_size)
    with _first_convolution_for(in_channels):
        network: nn.Module = get_model(name, weights=None, num_classes=num_classes, **{**options, **kwargs})
    return network


@contextmanager
def _first_convolution_for(bands: int) -> Iterator[None]:
    """Let the next convolution that is made see this many channels.

    Torchvision's builders have the three of RGB written into them. Changed while the network is built, and not
    afterwards, the convolution is drawn in its turn of the random stream by whatever scheme the network has.
    """
    original = nn.Conv2d.__init__

    def for_bands(layer: nn.Conv2d, in_channels: int, *args: Any, **kwargs: Any) -> None:
        setattr(nn.Conv2d, "__init__", original)  # noqa: B010 - mypy refuses to assign to a method
        if in_channels != 3:
            raise TypeError(f"its first convolution is made for {in_channels} channels, not for red, green and blue")
        original(layer, bands, *args, **kwargs)

    setattr(nn.Conv2d, "__init__", for_bands)  # noqa: B010
    try:
        yield
    finally:
        setattr(nn.Conv2d, "__init__", original)  # noqa: B010
