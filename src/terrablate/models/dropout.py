"""Dropout surgery: take the dropout of any network out, or put it before the dense layers of its head."""

from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from terrablate.config.schema import Dropout
from terrablate.errors import ConfigError

_BY_NAME = ("DropPath", "DropBlock2d", "PatchDropout")
"""Layers of timm that drop something; by name, since a network of our own should not need timm."""


def apply_dropout(network: nn.Module, dropout: Dropout) -> int:
    """Change the dropout of a network in place.

    Args:
        network: any network; its `get_classifier()` tells the last dense layer.
        dropout: the choice; `native` changes nothing.

    Returns:
        How many places of dropout were removed or added.

    Raises:
        ConfigError: if dropout is asked for and there is no place for it.
    """
    match dropout.name:
        case "native":
            return 0
        case "none":
            return _remove(network)
        case "head":
            _remove(network)
            assert dropout.p is not None
            places = _head_layers(network)
            if not places:
                raise ConfigError("dropout=head: the network has no dense layer at its end to put dropout before")
            for layer in places:
                layer.add_module("dropout", nn.Dropout(dropout.p))
                layer.register_forward_pre_hook(_drop_input)
            return len(places)


def _drop_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule("dropout")(inputs[0]), *inputs[1:])


def _head_layers(network: nn.Module) -> list[nn.Module]:
    head = getattr(network, "head", None)
    own = [layer for layer in head if isinstance(layer, nn.Linear)] if isinstance(head, nn.Sequential) else []
    if own:
        return list(own)
    get_classifier = getattr(network, "get_classifier", None)
    classifier = get_classifier() if get_classifier else None
    return [classifier] if isinstance(classifier, nn.Linear | nn.Conv2d) else []


def _remove(network: nn.Module) -> int:
    removed = 0
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _DropoutNd) or type(layer).__name__ in _BY_NAME:
                setattr(parent, name, nn.Identity())
                removed += 1
        for attribute in ("drop_rate", "drop_path_rate"):  # timm applies the former as a function of its networks
            if isinstance(getattr(parent, attribute, None), float) and getattr(parent, attribute) > 0:
                setattr(parent, attribute, 0.0)
                removed += 1
    return removed
