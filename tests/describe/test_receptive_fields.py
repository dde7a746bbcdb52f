"""Receptive fields are those that gradients show, and those of the formulas."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.describe.trace import trace
from terrablate.models.build import build

type Compose = Callable[..., Config]


def fields(network: nn.Module, *shape: int) -> dict[str, int | None]:
    return {
        call.name: call.receptive_field for call in trace(network.to("meta"), torch.empty(1, *shape, device="meta"))
    }


def positive(network: nn.Module) -> nn.Module:
    """A network in which every path from a pixel to a unit counts: positive weights, averages in place of maxima."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                average = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, average)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel() if parameter.dim() > 1 else 1)
    return network.eval().requires_grad_(False)


def measured(network: nn.Module, size: int, wanted: list[str]) -> dict[str, int]:
    """Extent of the pixels on which the central unit of each layer depends."""
    outputs: dict[str, torch.Tensor] = {}
    for name in wanted:
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output.clone()})
        )
    images = torch.ones(1, 3, size, size, requires_grad=True)
    network(images)
    found = {}
    for name, output in outputs.items():
        centre = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre, images, retain_graph=True)
        touched = [gradient[0].abs().sum((0, 2 - axis)).nonzero().flatten() for axis in (0, 1)]
        found[name] = max(int(places[-1] - places[0]) + 1 for places in touched)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size", "wanted"),
    [
        ("small_cnn", 128, ["features.block1.conv", "features.block2.pool", "features.block4.conv"]),
        ("vgg11", 320, ["features.0", "features.6", "features.18", "features.20"]),
        ("squeezenet1_0", 320, ["features.0", "features.3", "features.8.expand1x1", "features.9", "features.12"]),
        ("resnet18", 640, ["conv1", "layer1.1", "layer2.0.downsample", "layer3.0", "layer4.1"]),
        ("resnet20", 192, ["conv1", "layer1", "layer2.0", "layer3.2"]),
        ("inception_v3", 420, ["Conv2d_4a_3x3", "Mixed_5b", "Mixed_6a"]),
        ("densenet121", 256, ["features.denseblock1.denselayer3", "features.transition1"]),
    ],
)
def test_receptive_fields_are_those_that_gradients_show(
    compose: Compose, model: str, size: int, wanted: list[str]
) -> None:
    config = compose(f"model={model}", f"data.image_size={size}")
    known = fields(build(config, 3, 10, size).network, 3, size, size)
    wanted = [name for name in wanted if name in known] or pytest.fail(f"no such layers in {list(known)}")
    seen = measured(positive(build(config, 3, 10, size).network), size, wanted)
    assert seen == {name: known[name] for name in wanted}
    assert max(seen.values()) < size  # no border was in the way


def test_known_fields_of_whole_networks(compose: Compose) -> None:
    vgg = fields(build(compose("model=vgg16", "data.image_size=64"), 3, 10, 64).network, 3, 64, 64)
    assert (vgg["features.28"], vgg["features.30"]) == (196, 212)  # Araujo et al. 2019
    resnet = fields(build(compose("model=resnet18"), 3, 10, 64).network, 3, 64, 64)
    assert (resnet["conv1"], resnet["layer4"]) == (7, 435)
    assert resnet["fc"] is None


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 4, (1, 7), padding=(0, 3))
        self.tall = nn.Conv2d(3, 4, (9, 1), padding=(4, 0))
        self.after = nn.Conv2d(8, 2, 3, dilation=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.after(torch.cat([self.wide(images), self.tall(images)], 1))


def test_the_longer_side_and_the_larger_branch_count() -> None:
    assert fields(Branches(), 3, 20, 20) == {"wide": 7, "tall": 9, "after": 9 + 4, "": 13}


class Functions(nn.Module):
    """Layers beside what `forward` computes without one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2)
        self.cut = nn.Conv2d(4, 4, 3)
        self.by_channel = nn.Linear(4, 4)
        self.gate = nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = nn.functional.pad(self.first(images), (1, 1, 1, 1))
        values = self.cut(values[:, :, ::2, ::2])
        values = self.by_channel(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        values = values * self.gate(values.mean((2, 3), keepdim=True)).sigmoid()
        return self.last(values.flatten(2).transpose(1, 2))


def test_fields_go_through_what_is_no_layer() -> None:
    found = fields(Functions(), 3, 33, 33)
    assert (found["first"], found["cut"]) == (3, 3 + 2 * 4)  # every second unit: pixels are 4 apart
    assert found["by_channel"] == 11  # a dense layer over channels sees its own position only
    assert found["gate"] is None  # after global pooling
    assert found["last"] is None


def test_a_dense_layer_on_flattened_positions_sees_everything() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    assert fields(network, 3, 8, 8) == {"": None, "0": 3, "1": 3, "2": None}


def test_normalisation_and_channel_shuffling_do_not_widen_a_field() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 3))
    assert list(fields(network, 3, 8, 8).values())[1:] == [3, 3, 3, 5]


def test_attention_sees_everything(compose: Compose) -> None:
    found = fields(build(compose("model=vit_tiny"), 3, 10, 64).network, 3, 64, 64)
    assert (found["patch_embed.proj"], found["blocks.0.norm1"], found["blocks.0.attn"]) == (16, 16, None)


def test_what_cannot_be_followed_is_taken_to_see_everything() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3))
    assert list(fields(network, 3, 8, 8).values())[1:] == [3, None, None]


def test_adaptive_pooling_sees_its_widest_window() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.AdaptiveMaxPool2d(1))
    assert fields(network, 3, 10, 10)["0"] == 3  # windows of 3, 3, 3 and 3 pixels, 2.5 apart
    assert fields(network, 3, 8, 8) == {"": None, "0": 2, "1": None}
