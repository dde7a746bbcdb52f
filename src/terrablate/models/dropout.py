"""Dropout surgery: take the dropout of any network out, or put it before the dense layers of its head."""

from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from terrablate.config.schema import Dropout
from terrablate.errors import ConfigError
from terrablate.models.networks import classifiers

_RATES = ("drop_rate", "drop_path_rate", "patch_drop_rate", "attn_drop_p", "drop", "drop_prob")
"""Attributes in which timm's networks and layers keep rates of dropping that they apply as functions."""


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
                layer.add_module("dropout", nn.Dropout(dropout.p).train(layer.training))
                layer.register_forward_pre_hook(_drop_input)
            return len(places)


def _drop_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule("dropout")(inputs[0]), *inputs[1:])


def _head_layers(network: nn.Module) -> list[nn.Module]:
    head = getattr(network, "head", None)
    own = [layer for layer in head if isinstance(layer, nn.Linear)] if isinstance(head, nn.Sequential) else []
    if own:
        return list(own)
    modules = [module for classifier in classifiers(network) for module in classifier.modules()]
    return [module for module in modules if isinstance(module, nn.Linear | nn.Conv2d)]


def _remove(network: nn.Module) -> int:
    """Set every rate to zero; layers stay, since attention reads the rate off them."""
    removed = 0
    for layer in network.modules():
        dropping = ("p",) if isinstance(layer, _DropoutNd) else ("prob",) if "Drop" in type(layer).__name__ else ()
        for attribute in (*_RATES, *dropping):
            rate = getattr(layer, attribute, None)
            if isinstance(rate, float) and rate > 0:
                setattr(layer, attribute, 0.0)
                removed += 1
    return removed
