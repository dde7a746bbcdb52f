"""A small ResNet with random weights, to be filled with the weights of another."""

from typing import Any

import torch
from torch import nn

from terrablate.config.schema import TimmModel
from terrablate.models.band_names import RGB, canonical
from terrablate.models.build import Built, timm_network
from terrablate.models.weight_files import State
from terrablate.models.weights import LoadReport, load_weights

EUROSAT = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]
BANDS = canonical(EUROSAT, ["B04", "B03", "B02"])
RESNET10 = TimmModel(name="timm", builder="timm", timm_name="resnet10t")


def resnet(bands: int, classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return timm_network(RESNET10, in_chans=bands, num_classes=classes, image_size=32).eval()


def built(bands: int = 3, classes: int = 10, seed: int = 1) -> Built:
    network = resnet(bands, classes, seed)
    return Built(network, frozenset(network.state_dict()))


def load(into: Built, state: State, **options: Any) -> LoadReport:
    given = {
        "origin": "w.pth",
        "bands": RGB,
        "weight_bands": RGB,
        "stem": "map",
        "partial": False,
        "keeps_head": True,
        **options,
    }
    return load_weights(into, state, **given)


def features(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return network.eval().forward_features(images)
