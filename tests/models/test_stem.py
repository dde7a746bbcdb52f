"""The small stem: the resolution that the network then sees, its weights, and networks that have no stem."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import TimmModel
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.native import native_network
from terrablate.models.stem import apply_stem, is_patch_embedding

type Compose = Callable[..., Config]


def timm_model(name: str) -> TimmModel:
    return TimmModel(name="timm", builder="timm", timm_name=name)


def meta_network(name: str, size: int = 64) -> nn.Module:
    with torch.device("meta"):
        return native_network(timm_model(name), 13, 10, size)


def sides_of_convolutions(network: nn.Module, size: int) -> list[int]:
    """Side of the output of each convolution, in the order in which they are called."""
    sides: list[int] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[-1]))
    with torch.device("meta"), torch.no_grad():
        network.to("meta").eval()(torch.zeros(2, 13, size, size))
    return sides


@pytest.mark.parametrize(
    ("model", "native", "small", "changed"),
    [
        ("resnet18", [32, 16, 2], [64, 64, 8], 2),
        ("resnet50", [32, 16, 2], [64, 64, 8], 2),
        ("wide_resnet50", [32, 16, 2], [64, 64, 8], 2),
        ("resnext50", [32, 16, 2], [64, 64, 8], 2),
        ("densenet121", [32, 16, 2], [64, 64, 8], 2),
        ("efficientnet_b0", [32, 32, 2], [64, 64, 4], 1),
        ("convnext_tiny", [16, 16, 2], [64, 64, 8], 1),
        ("alexnet_torchvision", [15, 7, 3], [64, 64, 31], 2),
        ("squeezenet1_0", [29, 14, 3], [64, 64, 16], 2),
        ("lambda_resnet26t", [32, 32, 2], [64, 64, 8], 2),
    ],
)
def test_a_small_stem_keeps_the_resolution(
    compose: Compose, model: str, native: list[int], small: list[int], changed: int
) -> None:
    found = []
    for stem in ("native", "small"):
        with torch.device("meta"):
            built = build(compose(f"model={model}", f"model.stem={stem}"), 13, 10, 64)
        assert built.surgery["stem"] == (changed if stem == "small" else 0)
        sides = sides_of_convolutions(built.network, 64)
        found.append([sides[0], sides[1], sides[-1]])
    assert found == [native, small]


@pytest.mark.parametrize("name", ["resnet10t", "resnet26d", "resnetblur18", "seresnet33ts", "nf_resnet26"])
def test_no_layer_of_a_small_stem_strides(name: str) -> None:
    network = meta_network(name)
    apply_stem(network, "small")
    sides = sides_of_convolutions(network, 64)
    assert sides[0] == sides[1] == 64
    assert max(sides) == 64


def test_a_small_stem_is_a_three_by_three_convolution_without_pooling(compose: Compose) -> None:
    network = build(compose("model=resnet18", "model.stem=small"), 13, 10, 32).network
    first = network.get_submodule("conv1")
    assert (first.kernel_size, first.stride, first.padding) == ((3, 3), (1, 1), (1, 1))
    assert first.weight.shape == (64, 13, 3, 3)
    assert isinstance(network.get_submodule("maxpool"), nn.Identity)
    images = torch.rand(2, 13, 32, 32)
    torch.testing.assert_close(first(images), nn.functional.conv2d(images, first.weight, padding=1))


def test_padding_of_tensorflow_networks_stays_theirs() -> None:
    network = native_network(timm_model("tf_mobilenetv3_small_minimal_100"), 3, 10, 32)
    apply_stem(network, "small")
    assert network.get_submodule("conv_stem")(torch.zeros(1, 3, 33, 33)).shape[-2:] == (33, 33)


@pytest.mark.parametrize("model", ["resnet18", "squeezenet1_0", "mobilenet_v3_small"])
def test_only_the_first_convolution_differs_from_the_native_network(compose: Compose, model: str) -> None:
    native = build(compose(f"model={model}"), 4, 10, 64).network.state_dict()
    small = build(compose(f"model={model}", "model.stem=small"), 4, 10, 64).network.state_dict()
    assert list(native) == list(small)
    different = {name for name, value in native.items() if not torch.equal(value, small[name])}
    first = next(iter(native))
    assert different == ({first} if native[first].shape[-1] > 3 else set())


def test_cut_filters_keep_the_scale_of_the_networks_own_scheme(compose: Compose) -> None:
    first = build(compose("model=resnet18", "model.stem=small"), 13, 10, 32).network.get_parameter("conv1.weight")
    assert first.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)  # He et al. 2015, fan out
    native = build(compose("model=resnet18"), 13, 10, 32).network.get_parameter("conv1.weight")
    torch.testing.assert_close(first, native[:, :, 2:5, 2:5] * 7 / 3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vgg11", "model.stem=small: the first convolution (features.0) has steps of one pixel already; leave it at"),
        ("vgg16", "model.stem=small: the first convolution (features.0) has steps of one pixel already; leave it at"),
        (
            "vit_tiny",
            "model.stem=small: the network begins with patches of 16 pixels and has no convolutional stem; leave it at"
            " native; in a network of timm +model.kwargs.patch_size=8 takes smaller patches instead",
        ),
        (
            "swin_tiny",
            "model.stem=small: the network begins with patches of 4 pixels and has no convolutional stem; le",
        ),
        (
            "timm model.timm_name=levit_128s",
            "model.stem=small: model=timm cannot take the larger maps that follow; leave it at native",
        ),
    ],
)
def test_a_network_without_a_stem_to_shrink_refuses_in_one_sentence(compose: Compose, model: str, message: str) -> None:
    config = compose(*f"model={model} model.stem=small data.image_size=64".split())
    with pytest.raises(ConfigError) as caught, torch.device("meta"):
        build(config, 13, 10, 64)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "patch", "tokens"), [("vit_tiny", 8, 64), ("swin_tiny", 2, 1024)])
def test_smaller_patches_are_taken_as_the_message_says(compose: Compose, model: str, patch: int, tokens: int) -> None:
    config = compose(f"model={model}", f"+model.kwargs.patch_size={patch}")
    with torch.device("meta"):
        network = build(config, 13, 10, 64).network
        assert network.get_submodule("patch_embed")(torch.zeros(1, 13, 64, 64)).flatten(1, -2).shape[1] == tokens


def test_patches_are_told_from_stems() -> None:
    assert is_patch_embedding(meta_network("vit_tiny_patch16_224"))
    assert is_patch_embedding(meta_network("mixer_s32_224", 224))
    assert not is_patch_embedding(meta_network("convnext_atto"))
    assert not is_patch_embedding(meta_network("resnet10t"))
    assert not is_patch_embedding(nn.Linear(3, 4))
