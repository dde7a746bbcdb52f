"""Where a network ends: its last layers, which are made anew for another number of classes."""

from torch import nn


def classifiers(network: nn.Module) -> list[nn.Module]:
    """The last layers of a network: one, or several where it has several heads.

    Networks of timm and our own tell them by `get_classifier()`; in others, such as torchvision's, the last dense layer
    or convolution that was registered is taken.
    """
    get_classifier = getattr(network, "get_classifier", None)
    if get_classifier is None:
        layers: list[nn.Module] = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        return layers[-1:]
    found = get_classifier()
    several = isinstance(found, tuple | list | nn.ModuleList)
    return [layer for layer in (found if several else [found]) if isinstance(layer, nn.Module)]
