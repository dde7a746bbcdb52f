"""Every network of `conf/model` is explained, or it is said why it is not: filters, stages, Grad-CAM."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from quick_weights import quick_weights
from terrablate.config import Config
from terrablate.config.choices import choices
from terrablate.explain.filters import as_images, first_layer
from terrablate.explain.gradcam import NoMapsError, class_maps, target_layer
from terrablate.explain.layers import reading, trace
from terrablate.models.build import build
from terrablate.models.sizes import takes
from terrablate.models.stages import stages

type Compose = Callable[..., Config]

BANDS, CLASSES = 4, 3
NETWORKS = [choice.name for choice in choices("model")]
WITHOUT_MAPS = {"mlp": "without places", "local_cnn": "locally connected"}
"""Networks that Grad-CAM cannot explain, and a word of the reason."""
TARGETS = {
    "resnet18": ("layer3", 4), "resnet20": ("layer3", 16), "small_cnn": ("features.block4.act", 8),
    "vgg16": ("features.29", 4), "vit_tiny": ("blocks.11.norm1", 4), "swin_tiny": ("layers.2", 4),
    "efficientnet_b0": ("blocks.4", 4), "densenet121": ("features.transition3.conv", 4), "lenet": ("features.act2", 26),
    "inception_v3": ("Mixed_5d", 7), "squeezenet1_0": ("features.10", 7),
}  # fmt: skip
"""The layer whose maps are taken, and the places along their side."""


def smallest(config: Config) -> int:
    return next(size for size in (64, 67, 75) if takes(config.model, BANDS, CLASSES, size))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_explained_or_it_is_said_why_it_is_not(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    quick_weights(monkeypatch)
    size = smallest(compose(f"model={name}", "data.image_size=224"))
    network = build(compose(f"model={name}", f"data.image_size={size}"), BANDS, CLASSES, size).network.eval()
    images = torch.rand(2, BANDS, size, size, generator=torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in network.state_dict().items()}

    first = first_layer(network, images)
    assert first is not None
    weights, words = as_images(first[1], BANDS, size)
    assert weights is not None, words
    assert weights.shape[1] == BANDS
    assert np.isfinite(weights).all()

    with torch.inference_mode():
        outputs = trace(network, images).stage_outputs()
        with reading(network, [output for _, output in outputs]) as found:
            network(images)
    assert [stage for stage, _ in outputs] == [stage.name for stage in stages(network)[:-1]]
    for _, output in outputs:
        side = output.form.side
        assert found[output.call].shape == (2, output.channels, side, side)
    sides = [output.form.side for _, output in outputs]
    assert sides == sorted(sides, reverse=True)
    assert (sides[0] > 1) == (name != "mlp")

    if name in WITHOUT_MAPS:
        with pytest.raises(NoMapsError, match=WITHOUT_MAPS[name]):
            target_layer(network, images)
    else:
        target = target_layer(network, images)
        assert TARGETS.get(name, (target.name, target.form.side)) == (target.name, target.form.side)
        assert target.form.side >= 4
        maps = class_maps(network, target, images, [0, 1])
        assert maps.shape == (2, size, size)
        assert np.isfinite(maps).all()
        assert maps.min() >= 0
        assert maps.max() <= 1
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("library", "name", "target"),
    [
        ("timm", "xcit_nano_12_p16_224", "cls_attn_blocks.0"),  # maps N,places,C, a class token that comes late
        ("timm", "deit_tiny_distilled_patch16_224", "blocks.11.norm1"),  # two tokens before those of places
        ("timm", "coatnet_nano_rw_224", "stages.3.blocks.0.norm1.norm"),
        ("timm", "tresnet_m", "body.layer3"),  # its first convolution sees rearranged pixels
        ("torchvision", "swin_t", "features.5"),  # maps N,H,W,C
        ("torchvision", "resnet18", "layer3"),  # one ReLU that is called several times
    ],
)
def test_networks_of_other_makes_are_explained(compose: Compose, library: str, name: str, target: str) -> None:
    config = compose(f"model={library}", f"model.{library}_name={name}", "data.image_size=64")
    network = build(config, BANDS, CLASSES, 64).network.eval()
    images = torch.rand(2, BANDS, 64, 64, generator=torch.Generator().manual_seed(0))
    assert target_layer(network, images).name == target
    with torch.inference_mode():
        assert len(trace(network, images).stage_outputs()) == len(stages(network)) - 1
    first = first_layer(network, images)
    assert first is not None
    weights, _ = as_images(first[1], BANDS, 64)
    assert weights is not None
    assert weights.shape[1] == (64 if name == "tresnet_m" else BANDS)
