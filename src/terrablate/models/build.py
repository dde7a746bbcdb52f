"""From the config to a network: build, stem, initial weights, surgery. Each step checks that it did what was asked."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from terrablate.config.schema import BatchNorm, Config, Model, NativeNorm, TimmModel, TorchvisionModel
from terrablate.errors import ConfigError
from terrablate.models.dropout import apply_dropout
from terrablate.models.initialise import initialise
from terrablate.models.layout import apply_channels_last
from terrablate.models.native import first_line, native_network, timm_network
from terrablate.models.norm import apply_norm
from terrablate.models.sizes import REFUSALS, near_sizes, require_whole_patches
from terrablate.models.stem import apply_stem
from terrablate.random_streams import stream_seed

__all__ = ["Built", "build", "first_line", "native_network", "timm_network"]


@dataclass
class Built:
    """A network and what was done to it."""

    network: nn.Module
    native_keys: frozenset[str]
    """Names in the state dict before surgery: what published weights can be expected to fill."""
    surgery: dict[str, int] = field(default_factory=dict)
    """How many layers each step changed: stem, init, norm, dropout."""


def build(config: Config, in_channels: int, num_classes: int, image_size: int) -> Built:
    """Build the network of a run under its `init` random stream, without pretrained weights.

    Under `torch.device("meta")` it has shapes and no values, and costs next to nothing.

    Args:
        config: the run.
        in_channels: bands.
        num_classes: classes.
        image_size: side of the square images in pixels.

    Raises:
        ConfigError: if the network cannot take such images or batches, or a stem, norm, dropout or layout of memory
            finds no place in it.
    """
    model = config.model
    torch.manual_seed(stream_seed(config.seed, "init"))
    try:
        network = native_network(model, in_channels, num_classes, image_size)
    except ConfigError as error:
        sentence = near_sizes(model, in_channels, num_classes, image_size).sentence(image_size)
        if not sentence:  # it is not the size
            raise
        raise ConfigError(f"model={model.name}: {sentence}") from error
    keys = frozenset(network.state_dict())
    surgery = {
        "stem": apply_stem(network, model.stem) if isinstance(model, TimmModel | TorchvisionModel) else 0,
        "init": initialise(network, config.weights),
        "norm": apply_norm(network, config.norm),
        "dropout": apply_dropout(network, config.dropout),
    }
    if config.trainer.channels_last:
        apply_channels_last(network, model.name)
    _try(network, model, in_channels, num_classes, image_size)
    _check_batches_of_one(network, config)
    return Built(network, keys, surgery)


def _try(network: nn.Module, model: Model, in_channels: int, num_classes: int, image_size: int) -> None:
    """Pass two blank images through, so that images that do not suit the network are told now and in one sentence."""
    was_training = network.training
    network.eval()
    try:
        require_whole_patches(network, image_size)
        with torch.no_grad():
            logits = network(torch.zeros(2, in_channels, image_size, image_size))
    except REFUSALS as error:
        sentence = near_sizes(model, in_channels, num_classes, image_size).sentence(image_size) or (
            f"cannot take images of {in_channels} x {image_size} x {image_size}; data.image_size sets another size"
            f" ({first_line(error)})"
        )
        raise ConfigError(f"model={model.name}: {sentence}") from error
    finally:
        network.train(was_training)
    if tuple(logits.shape) != (2, num_classes):
        raise ConfigError(f"model={model.name}: gives {tuple(logits.shape)} for two images, not (2, {num_classes})")


def _check_batches_of_one(network: nn.Module, config: Config) -> None:
    """Batch normalisation that trains needs two images; where it is frozen, one will do."""
    frozen = isinstance(config.norm, NativeNorm | BatchNorm) and config.norm.frozen
    if config.batch_size > 1 or frozen or config.finetune.rule in ("head", "frozen_features"):
        return
    found = sum(isinstance(layer, _BatchNorm) for layer in network.modules())
    if found:
        raise ConfigError(
            f"batch_size=1: model={config.model.name} has {found} layers of batch normalisation, which cannot learn"
            " from one image; use at least 2, or norm=none, group, layer or instance"
        )
