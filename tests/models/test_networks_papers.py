"""AlexNet and the ResNets for small images, against the figures and formulas of their papers."""

import pytest
import torch
from torch import nn

from terrablate.models.networks import AlexNet, CifarResNet


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def meta_alexnet(size: int = 227, bands: int = 3, classes: int = 1000) -> AlexNet:
    with torch.device("meta"):
        return AlexNet(bands, classes, size)


# --- alexnet


def test_alexnets_first_convolution_is_the_one_of_the_paper() -> None:
    network = meta_alexnet()
    first = network.features.conv1
    assert (first.out_channels, first.kernel_size, first.stride) == (96, (11, 11), (4, 4))
    assert parameter_count(first) == 34_944
    assert first(torch.zeros(1, 3, 227, 227, device="meta")).shape == (1, 96, 55, 55)


def test_alexnet_has_the_parameters_and_layers_of_the_paper() -> None:
    network = meta_alexnet()
    assert parameter_count(network) == 60_965_224
    assert network.features(torch.zeros(1, 3, 227, 227, device="meta")).shape == (1, 256, 6, 6)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [96, 256, 384, 384, 256]
    assert [layer.groups for layer in convolutions] == [1, 2, 1, 2, 2]
    pools = [layer for layer in network.modules() if isinstance(layer, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3
    dense = [layer.out_features for layer in network.head if isinstance(layer, nn.Linear)]
    assert dense == [4096, 4096, 1000]
    assert [layer.p for layer in network.head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


def test_alexnets_response_normalisation_is_the_formula_of_the_paper() -> None:
    layer = meta_alexnet().features.norm1
    values = torch.rand(1, 9, 2, 2) * 30
    expected = torch.empty_like(values)
    for channel in range(9):
        around = values[:, max(0, channel - 2) : channel + 3].square().sum(1)
        expected[:, channel] = values[:, channel] / (2 + 1e-4 * around) ** 0.75
    torch.testing.assert_close(layer(values), expected)


def test_alexnets_weights_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    network = AlexNet(3, 10, 67)
    biases = {name: layer.bias for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    ones = {name.split(".")[1] for name, bias in biases.items() if (bias == 1).all()}
    zeros = {name.split(".")[1] for name, bias in biases.items() if (bias == 0).all()}
    assert ones == {"conv2", "conv4", "conv5", "dense6", "dense7"}
    assert zeros == {"conv1", "conv3", "dense8"}
    assert network.features.conv3.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert network.head.dense7.weight.std().item() == pytest.approx(0.01, rel=0.01)


# --- cifar_resnet


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)])
def test_a_small_resnet_has_the_parameters_of_the_paper(depth: int, parameters: int) -> None:
    """The paper's 0.27, 0.46, 0.66 and 0.85 M, which projections in the shortcuts (option B) would raise by 2,752."""
    network = CifarResNet(3, 10, depth)
    assert parameter_count(network) == parameters
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_a_small_resnet_bears_the_names_of_the_widely_used_implementation() -> None:
    names = set(CifarResNet(3, 10, 20).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    block = {"conv1.weight", "conv2.weight"} | {f"{layer}.{part}" for layer in ("bn1", "bn2") for part in norm}
    expected = {f"layer{stage}.{number}.{name}" for stage in (1, 2, 3) for number in range(3) for name in block}
    assert names == expected | {"conv1.weight", "linear.weight", "linear.bias"} | {f"bn1.{part}" for part in norm}


def test_a_small_resnet_keeps_the_resolution_in_its_first_stage_and_halves_it_twice() -> None:
    network = CifarResNet(13, 10, 8).eval()
    values = network.act1(network.bn1(network.conv1(torch.rand(2, 13, 32, 32))))
    shapes = [tuple(values.shape[1:])]
    for stage in (network.layer1, network.layer2, network.layer3):
        values = stage(values)
        shapes.append(tuple(values.shape[1:]))
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_shortcuts_subsample_and_pad_with_zeros_on_both_sides() -> None:
    network = CifarResNet(3, 10, 8)
    values = torch.rand(2, 16, 9, 9)
    shortcut = network.layer2[0].shortcut(values)
    assert shortcut.shape == (2, 32, 5, 5)
    assert torch.equal(shortcut[:, 8:24], values[:, :, ::2, ::2])
    assert not shortcut[:, :8].any()
    assert not shortcut[:, 24:].any()
    assert torch.equal(network.layer1[0].shortcut(values), values)


def test_the_residual_branch_passes_the_place_of_stochastic_depth() -> None:
    class Drop(nn.Module):
        def forward(self, residual: torch.Tensor) -> torch.Tensor:
            return residual * 0

    block = CifarResNet(3, 10, 8).layer1[0]
    values = torch.rand(2, 16, 8, 8)
    assert not torch.equal(block(values), values)
    block.drop_path = Drop()
    assert torch.equal(block(values), values)  # only the shortcut is left; ReLU keeps what is positive
