"""From the config to a network: build, surgery, weights. Each step checks that it did what it was asked."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from terrablate.config.schema import Config, LeNetModel, SmallCNNModel, TimmModel
from terrablate.errors import ConfigError
from terrablate.models.dropout import apply_dropout
from terrablate.models.norm import apply_norm
from terrablate.random_streams import stream_seed

logger = logging.getLogger(__name__)

type AnyModel = TimmModel | LeNetModel | SmallCNNModel


@dataclass
class Built:
    """A network and what was done to it."""

    network: nn.Module
    native_keys: frozenset[str]
    """Names in the state dict before surgery: what published weights can be expected to fill."""
    surgery: dict[str, int] = field(default_factory=dict)


def build(config: Config, in_channels: int, num_classes: int, image_size: int) -> Built:
    """Build the network of a run under its `init` random stream, without pretrained weights.

    Raises:
        ConfigError: if the network cannot take such images, or a norm or dropout finds no place in it.
    """
    torch.manual_seed(stream_seed(config.seed, "init"))
    network = native_network(config.model, in_channels, num_classes, image_size)
    keys = frozenset(network.state_dict())
    surgery = {"norm": apply_norm(network, config.norm), "dropout": apply_dropout(network, config.dropout)}
    _try(network, config, in_channels, num_classes, image_size)
    return Built(network, keys, surgery)


def native_network(model: AnyModel, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """The network as its authors have it, for this many bands and classes.

    Raises:
        ConfigError: if its arguments are wrong.
    """
    if isinstance(model, LeNetModel):
        from terrablate.models.networks import LeNet

        return LeNet(in_channels, num_classes, image_size, model.hidden)
    if isinstance(model, SmallCNNModel):
        from terrablate.models.networks import SmallCNN

        return SmallCNN(in_channels, num_classes, model.width, model.norm_position)
    return timm_network(model, in_chans=in_channels, num_classes=num_classes, image_size=image_size)


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
    try:
        network: nn.Module = timm.create_model(name, **{**options, **model.kwargs})
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError) as error:
        given = ", ".join(f"{key}={value}" for key, value in model.kwargs.items()) or "no kwargs"
        raise ConfigError(f"model.timm_name={name} with {given}: timm refuses it: {first_line(error)}") from error
    return network


def _try(network: nn.Module, config: Config, in_channels: int, num_classes: int, image_size: int) -> None:
    """Pass two blank images through, so that images that are too small are told now and in one sentence."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(2, in_channels, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ConfigError(
            f"model={config.model.name}: cannot take images of {in_channels} x {image_size} x {image_size};"
            f" data.image_size sets another size ({first_line(error)})"
        ) from error
    finally:
        network.train(was_training)
    if tuple(logits.shape) != (2, num_classes):
        raise ConfigError(
            f"model={config.model.name}: gives {tuple(logits.shape)} for two images, not (2, {num_classes})"
        )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
