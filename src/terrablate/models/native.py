"""Networks as their authors have them: our own, and those of timm and torchvision."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from terrablate.config.schema import (
    AlexNetModel,
    CifarResNetModel,
    LeNetModel,
    LocalCNNModel,
    MLPModel,
    Model,
    Sat6CNNModel,
    SmallCNNModel,
    TimmModel,
    TorchvisionModel,
)
from terrablate.errors import ConfigError
from terrablate.models import networks
from terrablate.models.torchvision_networks import torchvision_network


def native_network(model: Model, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """The network as its authors have it, for this many bands and classes.

    Raises:
        ConfigError: if its arguments are wrong.
    """
    match model:
        case TimmModel():
            return timm_network(model, in_chans=in_channels, num_classes=num_classes, image_size=image_size)
        case TorchvisionModel():
            return _created(
                lambda: torchvision_network(model.torchvision_name, in_channels, num_classes, image_size, model.kwargs),
                "torchvision",
                model.torchvision_name,
                model.kwargs,
            )
        case MLPModel():
            return networks.MLP(in_channels, num_classes, image_size, model.hidden, model.activation)
        case LocalCNNModel():
            return networks.LocalCNN(
                in_channels, num_classes, image_size, model.channels, model.kernel, model.stride, model.hidden
            )
        case Sat6CNNModel():
            return networks.Sat6CNN(in_channels, num_classes, image_size)
        case LeNetModel():
            return networks.LeNet(in_channels, num_classes, image_size, model.hidden, model.pooling, model.activation)
        case SmallCNNModel():
            return networks.SmallCNN(
                in_channels, num_classes, model.width, model.norm_position, model.pooling, model.activation
            )
        case AlexNetModel():
            return networks.AlexNet(in_channels, num_classes, image_size)
        case CifarResNetModel():
            return networks.CifarResNet(in_channels, num_classes, model.depth)


def timm_network(model: TimmModel, *, image_size: int, tag: str | None = None, **options: Any) -> nn.Module:
    """`timm.create_model`, told the image size where the network must know it.

    Raises:
        ConfigError: if timm refuses the arguments.
    """
    import timm
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(model.timm_name)
    if cfg is not None and cfg.fixed_input_size and "img_size" not in model.kwargs:
        options["img_size"] = image_size
    name = model.timm_name if tag is None else f"{model.timm_name}.{tag}"
    return _created(lambda: timm.create_model(name, **{**options, **model.kwargs}), "timm", name, model.kwargs)


def _created(make: Callable[[], nn.Module], library: str, name: str, kwargs: dict[str, Any]) -> nn.Module:
    """A network of a library, whose refusals become one sentence."""
    try:
        try:
            return make()
        except (NotImplementedError, RuntimeError):
            if torch.get_default_device().type != "meta":
                raise
            with torch.device("cpu"):  # some compute with tensors while they are built
                return make().to("meta")
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError, ZeroDivisionError) as error:
        given = ", ".join(f"{key}={value}" for key, value in kwargs.items()) or "no kwargs"
        raise ConfigError(
            f"model.{library}_name={name} with {given}: {library} refuses it: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
