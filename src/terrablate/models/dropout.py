"""Dropout surgery: take the dropout of any network out, and put one of four kinds in its place."""

import re
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from terrablate.config.schema import Dropout
from terrablate.errors import ConfigError
from terrablate.models.heads import classifiers
from terrablate.models.places import inner_convolutions

_RATES = (
    "drop_rate", "drop_path_rate", "patch_drop_rate", "attn_drop_p", "drop", "drop_prob", "dropout",
    "attention_dropout",
)  # fmt: skip
"""Attributes in which networks and layers of timm, torchvision and torch keep rates that they apply as functions."""
_DROP_PATH = re.compile(r"(\w+_)?drop_path\d*|stochastic_(depth|dropout)")
"""Attributes in which residual blocks of timm, of our own, and of torchvision keep stochastic depth."""
_SHORTCUT_FLAGS = ("has_skip", "use_shortcut", "use_res_connect", "residual")
"""Attributes by which some blocks say whether they have a shortcut."""


def apply_dropout(network: nn.Module, dropout: Dropout) -> int:
    """Change the dropout of a network in place. Every choice but `native` removes the network's own first.

    Kept values are scaled by 1 / (1 - p) in train mode; in eval mode all is as without dropout.

    Args:
        network: any network.
        dropout: the choice; `native` changes nothing.

    Returns:
        How many places of dropout were removed or added; of `path`, residual blocks.

    Raises:
        ConfigError: if dropout is asked for and there is no place for it.
    """
    if dropout.name == "native":
        return 0
    removed = _remove(network)
    if dropout.name == "none":
        return removed
    assert dropout.p is not None
    match dropout.name:
        case "head":
            places = _head_layers(network)
            lacking = "dense layer at its end to put dropout before"
            _drop_inputs(places, nn.Dropout, dropout.p)
        case "conv" | "spatial":
            places = [*inner_convolutions(network)[1:]]
            lacking = "convolution after its first to put dropout before"
            _drop_inputs(places, nn.Dropout if dropout.name == "conv" else nn.Dropout2d, dropout.p)
        case "path":
            places = _residual_blocks(network)
            lacking = "residual block with a place for stochastic depth"
            _drop_paths(places, dropout.p)
    if not places:
        raise ConfigError(f"dropout={dropout.name}: the network has no {lacking}; use another dropout or network")
    return len(places)


def _remove(network: nn.Module) -> int:
    """Set every rate to zero; layers stay, since attention reads the rate off them."""
    removed = 0
    for layer in network.modules():
        kind = type(layer).__name__
        own = ("p",) if isinstance(layer, _DropoutNd) or kind == "StochasticDepth" else ()
        for attribute in (*_RATES, *(own or (("prob",) if "Drop" in kind else ()))):
            rate = getattr(layer, attribute, None)
            if isinstance(rate, float) and rate > 0:
                setattr(layer, attribute, 0.0)
                removed += 1
    return removed


# --- before layers: as their child, which leaves the names of their parameters alone


def _drop_inputs(layers: list[nn.Module], kind: type[nn.Dropout | nn.Dropout2d], p: float) -> None:
    for layer in layers:
        layer.add_module("dropout", kind(p).train(layer.training))
        layer.register_forward_pre_hook(_drop_input)


def _drop_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule("dropout")(inputs[0]), *inputs[1:])


def _head_layers(network: nn.Module) -> list[nn.Module]:
    """The dense layers of the head: all of a sequential one, else the classifier; never the one that sees the image."""
    learning = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    for name in ("head", "classifier"):
        head = getattr(network, name, None)
        dense = [layer for layer in head if isinstance(layer, nn.Linear)] if isinstance(head, nn.Sequential) else []
        if dense:
            return [layer for layer in dense if layer is not learning[0]]
    modules = [module for classifier in classifiers(network) for module in classifier.modules()]
    return [module for module in modules if isinstance(module, nn.Linear | nn.Conv2d) and module is not learning[0]]


# --- stochastic depth


def _residual_blocks(network: nn.Module) -> list[nn.Module]:
    return [block for block in network.modules() if _is_residual(block) and _paths(block)]


def _is_residual(block: nn.Module) -> bool:
    """Whether a block has a shortcut, as far as it says so: without one, its whole output would be dropped."""
    if any(getattr(block, flag, None) is False for flag in _SHORTCUT_FLAGS):
        return False
    if hasattr(block, "no_skip"):  # of Xception, where no `shortcut` layer means the identity
        return not block.no_skip
    return all(getattr(block, branch, block) is not None for branch in ("shortcut", "identity"))


def _paths(block: nn.Module) -> list[str]:
    """Attributes of a block's branches: a vision transformer's has two, for attention and for the dense layers."""
    from timm.layers import DropPath

    held = {**vars(block), **dict(block.named_children())}
    return [
        name
        for name, value in held.items()
        if _DROP_PATH.fullmatch(name)
        and (value is None or isinstance(value, nn.Identity | DropPath) or type(value).__name__ == "StochasticDepth")
    ]


def _drop_paths(blocks: list[nn.Module], p: float) -> None:
    """Block l of L drops its branches with the rate p l / L (Huang et al. 2016)."""
    from timm.layers import DropPath

    for number, block in enumerate(blocks, start=1):
        for name in _paths(block):
            setattr(block, name, DropPath(p * (number / len(blocks))).train(block.training))
