"""The stages of a network, from the images to the head: the units in which fine-tuning freezes and slows down."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import nn
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from terrablate.models.heads import classifiers
from terrablate.models.norm import norm_layers

_OPENED = frozenset({"features", "encoder", "encoder.layers", "layers", "blocks", "trunk_output"})
"""Modules that hold many stages, by the names that torchvision and our own networks give them."""

type _Unit = tuple[list[str], bool]
"""Names of parameters, and whether they join the group before them."""


@dataclass(frozen=True)
class Stage:
    """A part of a network that is frozen, or slowed down, as a whole."""

    name: str
    """Of its first module, such as `layer1`."""
    parameters: tuple[str, ...]
    """Names of its parameters in the network."""
    modules: tuple[str, ...]
    """Names of its modules, dropout and other layers without parameters included."""


def stages(network: nn.Module) -> list[Stage]:
    """The stages of any network in the order of its forward pass; the last is the head alone.

    Networks of timm tell them by `group_matcher`. In others, blocks and dense layers are a stage each, and so are the
    convolutions between two poolings. A normalisation belongs to the stage before it. Every parameter belongs to one
    stage, and so does every module: if it reaches over several, to the last of them; if it has no parameters, as
    dropout, to the stage of the layer that it stands before.

    Args:
        network: after surgery; `terrablate.models.heads.classifiers` tells its head.
    """
    owners = dict(network.named_modules())
    head_layers = {layer for classifier in classifiers(network) for layer in classifier.modules()}
    names = [name for name, _ in network.named_parameters()]
    head = [name for name in names if owners[name.rpartition(".")[0]] in head_layers]
    backbone = dict.fromkeys(name for name in names if name not in set(head))
    grouped = _told_by_timm(network, backbone) if hasattr(network, "group_matcher") else _found(network, backbone)
    groups = [*grouped, head]
    reach = _stage_of_modules(network, {name: index for index, group in enumerate(groups) for name in group})
    found = []
    for index, group in enumerate(groups):
        wholly = (name for name in reach if reach[name] == [index] and _begins(name, group))
        modules = tuple(name for name in reach if reach[name][-1] == index)
        found.append(Stage(next(wholly, group[0]), tuple(group), modules))
    return found


def _begins(module: str, parameters: list[str]) -> bool:
    return any(name.startswith(f"{module}.") for name in parameters)


def _told_by_timm(network: nn.Module, backbone: dict[str, None]) -> list[list[str]]:
    """Groups of timm's matcher; its last holds the head and what lies between it and the blocks, layer by layer."""
    from timm.models import group_parameters

    group_matcher = cast(Callable[..., Any], network.group_matcher)
    try:
        matcher = group_matcher(coarse=True)
    except AssertionError:  # RDNet's groups come in one grain only
        matcher = group_matcher()
    told = group_parameters(network, matcher)
    *blocks, last = ([name for name in told[number] if name in backbone] for number in sorted(told))
    layers: dict[str, list[str]] = {}
    for name in last:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    heavy = _heavy(network)
    between = ((names, heavy.isdisjoint(names)) for names in layers.values())
    return _joined([*((names, False) for names in blocks if names), *between])


def _found(network: nn.Module, backbone: dict[str, None]) -> list[list[str]]:
    """Groups by the children of the network; parameters outside of them, as class tokens, belong to the first."""
    groups = _joined(_units(network, "", backbone, _heavy(network)))
    inside = {name for group in groups for name in group}
    outside = [name for name in backbone if name not in inside]
    if outside:
        groups = [outside + groups[0], *groups[1:]] if groups else [outside]
    return groups


def _units(parent: nn.Module, path: str, backbone: dict[str, None], heavy: set[str]) -> Iterator[_Unit]:
    children = [(f"{path}.{name}".lstrip("."), child) for name, child in parent.named_children()]
    has_pooling = any(isinstance(child, _MaxPoolNd | _AvgPoolNd) for _, child in children)
    in_run = False
    for name, child in children:
        whole = [parameter for parameter, _ in child.named_parameters(prefix=name)]
        names = [parameter for parameter in whole if parameter in backbone]
        if isinstance(child, _MaxPoolNd | _AvgPoolNd):
            in_run = False
        elif names and (name in _OPENED or len(names) < len(whole)):
            yield from _units(child, name, backbone, heavy)
            in_run = False
        elif heavy.isdisjoint(names):
            yield names, True
        else:
            is_convolution = not isinstance(child, nn.Linear) and any(True for _ in child.parameters(recurse=False))
            yield names, in_run and is_convolution
            in_run = has_pooling and is_convolution


def _joined(units: Iterable[_Unit]) -> list[list[str]]:
    groups: list[list[str]] = []
    for names, joins in units:
        if groups and joins:
            groups[-1].extend(names)
        elif names:
            groups.append(list(names))
    return groups


def _heavy(network: nn.Module) -> set[str]:
    """Parameters that make a layer more than a normalisation or a scale."""
    norms = {name for name, _ in norm_layers(network)}
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim > 1 and name.rpartition(".")[0] not in norms
    }


def _stage_of_modules(network: nn.Module, stage_of: dict[str, int]) -> dict[str, list[int]]:
    """The stages over which each module reaches, in order, by its name."""
    stage = {parameter: stage_of[name] for name, parameter in network.named_parameters()}
    modules = list(network.named_modules())
    reach = {name: sorted({stage[parameter] for parameter in module.parameters()}) for name, module in modules}
    owners = [
        (place, name, stage[parameter])
        for place, (name, module) in enumerate(modules)
        for parameter in list(module.parameters(recurse=False))[:1]
    ]
    found = dict(reach)
    for place, (name, _) in enumerate(modules):
        if reach[name]:
            continue
        around = name.rpartition(".")[0]
        while not reach[around]:
            around = around.rpartition(".")[0]
        inside = [(where, its) for where, owner, its in owners if f"{owner}.".startswith(f"{around}.".lstrip("."))]
        found[name] = [next((its for where, its in inside if where > place), inside[-1][1])]
    return found
