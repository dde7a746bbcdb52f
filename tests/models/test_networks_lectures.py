"""The other networks of the lectures: perceptron, locally connected network, SAT-6 CNN, by explicit computation."""

import pytest
import torch
from torch import nn

from terrablate.models.networks import MLP, LocalCNN, LocallyConnected2d, NormPlace, Sat6CNN


def layer_kinds(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module]


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# --- mlp


def test_mlp_is_dense_layers_on_all_pixels_of_all_bands() -> None:
    network = MLP(2, 3, 4, [6, 5], "relu")
    assert layer_kinds(network.head) == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    images = torch.rand(7, 2, 4, 4)
    hidden = images.reshape(7, 32)
    for layer in (network.head.dense1, network.head.dense2):
        hidden = (hidden @ layer.weight.T + layer.bias).clamp(min=0)
    expected = hidden @ network.head.dense3.weight.T + network.head.dense3.bias
    torch.testing.assert_close(network(images), expected)


def test_mlp_has_as_many_hidden_layers_as_units_are_given() -> None:
    assert parameter_count(MLP(4, 10, 28, [128], "relu")) == 401_536 + 128 * 10 + 10  # the textbook's 28x28x4 to 128
    assert parameter_count(MLP(1, 2, 2, [3, 4, 5], "tanh")) == (4 * 3 + 3) + (3 * 4 + 4) + (4 * 5 + 5) + (5 * 2 + 2)


# --- local_cnn


@pytest.mark.parametrize(("size", "kernel", "stride"), [(9, 3, 2), (8, 3, 1), (11, 5, 3)])
def test_a_locally_connected_layer_equals_an_explicit_loop(size: int, kernel: int, stride: int) -> None:
    layer = LocallyConnected2d(2, 4, size, kernel, stride)
    nn.init.normal_(layer.bias)
    images = torch.rand(3, 2, size, size)
    side = (size - kernel) // stride + 1
    expected = torch.empty(3, 4, side, side)
    for row in range(side):
        for column in range(side):
            top, left = row * stride, column * stride
            window = images[:, :, top : top + kernel, left : left + kernel].reshape(3, -1)
            place = row * side + column
            expected[:, :, row, column] = window @ layer.weight[place].T + layer.bias[place]
    torch.testing.assert_close(layer(images), expected)


def test_a_locally_connected_layer_with_equal_weights_everywhere_is_a_convolution() -> None:
    layer, convolution = LocallyConnected2d(3, 5, 12, 5, 2), nn.Conv2d(3, 5, 5, 2)
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.reshape(1, 5, 75).expand_as(layer.weight))
        layer.bias.copy_(convolution.bias.expand_as(layer.bias))
    images = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(layer(images), convolution(images))


def test_local_cnn_has_weights_of_its_own_at_every_position() -> None:
    network = LocalCNN(13, 10, 64, [16, 32], 5, 2, 128)
    assert network.features.local1.weight.shape == (30 * 30, 16, 13 * 25)
    assert network.features.local1.bias.shape == (30 * 30, 16)
    assert network.features.local2.weight.shape == (13 * 13, 32, 16 * 25)
    assert network.features(torch.zeros(1, 13, 64, 64)).shape == (1, 32, 13, 13)
    assert [place.channels for place in network.modules() if isinstance(place, NormPlace)] == [16, 32]


def test_local_cnn_starts_at_the_scale_of_one_window() -> None:
    weight = LocalCNN(3, 10, 32, [16], 5, 2, 8).features.local1.weight
    assert weight.std().item() == pytest.approx((2 / 75) ** 0.5, rel=0.02)


# --- sat6_cnn


@pytest.mark.parametrize(
    ("bands", "size", "classes", "parameters", "side"), [(1, 32, 4, 73_492, 5), (4, 28, 6, 57_590, 4)]
)
def test_sat6_cnn_has_the_parameters_of_the_lecture(
    bands: int, size: int, classes: int, parameters: int, side: int
) -> None:
    network = Sat6CNN(bands, classes, size)
    assert parameter_count(network) == parameters
    assert network.features(torch.zeros(1, bands, size, size)).shape == (1, 16, side, side)


def test_sat6_cnn_has_the_layers_of_the_lecture() -> None:
    network = Sat6CNN(4, 6, 28)
    assert layer_kinds(network.features) == ["Conv2d", "ReLU", "MaxPool2d"] * 2
    assert [layer.out_channels for layer in network.features if isinstance(layer, nn.Conv2d)] == [32, 16]
    assert [layer.out_features for layer in network.head if isinstance(layer, nn.Linear)] == [128, 64, 6]
