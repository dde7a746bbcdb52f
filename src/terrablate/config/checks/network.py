"""Checks of the model against the data."""

import difflib
from collections.abc import Collection

from terrablate.config.schema import (
    CifarResNetModel,
    Config,
    LeNetModel,
    LocalCNNModel,
    Model,
    SmallCNNModel,
    TimmModel,
    TorchvisionModel,
)
from terrablate.errors import ConfigError

SMALLEST_SIZE = {"alexnet": 67, "lenet": 16, "sat6_cnn": 16, "small_cnn": 16}
"""Smallest side in pixels that the poolings of our own networks leave something of, with their own poolings."""
SMALLEST_SIZE_WITH_STRIDES = {"lenet": 13, "small_cnn": 1}
"""The same where convolutions step in place of poolings."""

_SET_BY_US = {
    "timm": {"in_chans", "num_classes", "pretrained", "features_only"},
    "torchvision": {"num_classes", "pretrained", "progress", "weights"},
}
"""Arguments of the builders that follow from data and weights."""


def check_network(config: Config) -> None:
    """The network and its images."""
    model, data = config.model, config.data
    match model:
        case TimmModel():
            from terrablate.models.timm_index import model_names as timm_names

            _check_name("timm", model.timm_name, timm_names())
            _check_kwargs("timm", model.kwargs)
        case TorchvisionModel():
            from terrablate.models.torchvision_index import model_names as torchvision_names

            _check_name("torchvision", model.torchvision_name, torchvision_names())
            _check_kwargs("torchvision", model.kwargs)
            if model.kwargs.get("aux_logits"):
                raise ConfigError(
                    "model.kwargs.aux_logits=true: a network here has one output; leave it out, and the auxiliary heads"
                    " are not built"
                )
        case CifarResNetModel() if (model.depth - 2) % 6:
            n = (model.depth - 2) // 6
            raise ConfigError(f"model.depth={model.depth}: must be 6n + 2, such as {6 * n + 2} or {6 * n + 8}")
    size, smallest = data.image_size or data.native_size, smallest_own_size(model)
    if smallest is not None and size is not None and size < smallest:
        raise ConfigError(
            f"model={model.name}: needs images of at least {smallest} pixels a side, data gives {size};"
            f" data.image_size={smallest} resizes"
        )


def smallest_own_size(model: Model) -> int | None:
    """Smallest side in pixels that a network of our own takes; None for those that are tried when they are built."""
    match model:
        case LocalCNNModel():
            side = 1
            for _ in model.channels:
                side = (side - 1) * model.stride + model.kernel
            return side
        case LeNetModel(pooling="stride") | SmallCNNModel(pooling="stride"):
            return SMALLEST_SIZE_WITH_STRIDES[model.builder]
    return SMALLEST_SIZE.get(model.builder)


def _check_name(library: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        what = "network" if library == "timm" else "classification network"
        raise ConfigError(f"model.{library}_name={name}: {library} has no {what} of this name{hint}")


def _check_kwargs(library: str, kwargs: Collection[str]) -> None:
    reserved = sorted(_SET_BY_US[library] & set(kwargs))
    if reserved:
        raise ConfigError(f"model.kwargs: {', '.join(reserved)} is set by data and weights; leave it out")
