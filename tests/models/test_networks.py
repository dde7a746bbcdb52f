"""LeNet and the small CNN: layer by layer, what their choices change, and that the defaults are what they were."""

import pytest
import torch
from torch import nn

from terrablate.models.networks import MLP, LeNet, NormPlace, SmallCNN


def layer_kinds(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module]


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# --- LeNet


def test_lenet_is_two_convolutions_two_average_poolings_sigmoids_and_two_dense_layers() -> None:
    network = LeNet(3, 10, 64, 120)
    assert layer_kinds(network.features) == ["Conv2d", "Sigmoid", "AvgPool2d", "Conv2d", "Sigmoid", "AvgPool2d"]
    assert layer_kinds(network.head) == ["Flatten", "Linear", "Sigmoid", "Linear"]
    assert network.features.conv1.kernel_size == network.features.conv2.kernel_size == (5, 5)
    assert network.features.pool1.kernel_size == network.features.pool2.kernel_size == 2
    assert (network.features.conv1.out_channels, network.features.conv2.out_channels) == (6, 16)


@pytest.mark.parametrize(("size", "side"), [(16, 1), (28, 4), (32, 5), (64, 13)])
def test_lenet_fits_its_first_dense_layer_to_the_image(size: int, side: int) -> None:
    network = LeNet(4, 7, size, 120)
    assert network.features(torch.zeros(2, 4, size, size)).shape == (2, 16, side, side)
    assert network.head.dense1.in_features == 16 * side * side
    assert network(torch.zeros(2, 4, size, size)).shape == (2, 7)


def test_lenet_computes_what_its_description_says() -> None:
    network = LeNet(1, 3, 16, 5)
    image = torch.rand(2, 1, 16, 16)
    first, second = network.features.conv1, network.features.conv2
    hidden = nn.functional.avg_pool2d(torch.sigmoid(nn.functional.conv2d(image, first.weight, first.bias)), 2)
    hidden = nn.functional.avg_pool2d(torch.sigmoid(nn.functional.conv2d(hidden, second.weight, second.bias)), 2)
    dense1, dense2 = network.head.dense1, network.head.dense2
    logits = torch.sigmoid(hidden.flatten(1) @ dense1.weight.T + dense1.bias) @ dense2.weight.T + dense2.bias
    torch.testing.assert_close(network(image), logits)


@pytest.mark.parametrize(("pooling", "layer"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d)])
def test_lenets_pooling_is_the_one_asked_for(pooling: str, layer: type[nn.Module]) -> None:
    features = LeNet(3, 10, 64, 120, pooling=pooling).features
    assert type(features.pool1) is type(features.pool2) is layer


def test_lenet_with_strides_takes_every_second_pixel_of_its_convolutions() -> None:
    network = LeNet(2, 3, 28, 5, pooling="stride")
    assert layer_kinds(network.features) == ["Conv2d", "Sigmoid", "Conv2d", "Sigmoid"]
    assert parameter_count(network) == parameter_count(LeNet(2, 3, 28, 5))
    images = torch.rand(2, 2, 28, 28)
    first, second = network.features.conv1, network.features.conv2
    hidden = torch.sigmoid(nn.functional.conv2d(images, first.weight, first.bias))[:, :, ::2, ::2]
    hidden = torch.sigmoid(nn.functional.conv2d(hidden, second.weight, second.bias))[:, :, ::2, ::2]
    torch.testing.assert_close(network.features(images), hidden)


@pytest.mark.parametrize("size", [13, 14, 15, 16, 33, 64, 65])
def test_lenet_with_strides_fits_its_first_dense_layer_to_the_image(size: int) -> None:
    assert LeNet(3, 10, size, 7, pooling="stride")(torch.zeros(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize(("activation", "layer"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid)])
def test_the_activation_is_the_one_asked_for_everywhere(activation: str, layer: type[nn.Module]) -> None:
    networks = (
        (LeNet(3, 10, 16, 7, activation=activation), 3),
        (SmallCNN(3, 10, 4, "before", activation=activation), 4),
        (MLP(3, 10, 16, [8, 6], activation), 2),
    )
    for network, places in networks:
        kinds = [type(module) for module in network.modules() if type(module).__module__.endswith("activation")]
        assert kinds == [layer] * places


def test_lenets_initial_weights_follow_its_activation() -> None:
    inputs, outputs = 3 * 25, 6 * 25
    widest = {
        name: LeNet(3, 10, 64, 120, activation=name).features.conv1.weight.abs().max() for name in ("tanh", "relu")
    }
    glorot, he = (6 / (inputs + outputs)) ** 0.5, (6 / inputs) ** 0.5
    assert 0.95 * glorot < widest["tanh"] <= glorot
    assert 0.95 * he < widest["relu"] <= he


def test_lenets_defaults_are_drawn_as_they_always_were() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(16, 7), nn.Linear(7, 10)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
    torch.manual_seed(0)
    network = LeNet(3, 10, 16, 7)
    found = [network.features.conv1, network.features.conv2, network.head.dense1, network.head.dense2]
    for layer, expected in zip(found, layers, strict=True):
        assert torch.equal(layer.weight, expected.weight)
        assert torch.equal(layer.bias, expected.bias)


# --- small_cnn


def test_small_cnn_has_four_blocks_of_doubling_width() -> None:
    network = SmallCNN(13, 10, 8, "before")
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [8, 16, 32, 64]
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    assert network.features(torch.zeros(1, 13, 64, 64)).shape == (1, 64, 4, 4)


def test_width_changes_the_parameters() -> None:
    assert parameter_count(SmallCNN(3, 10, 32, "before")) > 3 * parameter_count(SmallCNN(3, 10, 16, "before"))


@pytest.mark.parametrize(
    ("position", "order"), [("before", ["conv", "norm", "act", "pool"]), ("after", ["conv", "act", "norm", "pool"])]
)
def test_norm_position_orders_the_layers(position: str, order: list[str]) -> None:
    network = SmallCNN(3, 10, 4, position)
    assert [name for name, _ in network.features.block2.named_children()] == order
    assert [place.channels for place in network.modules() if isinstance(place, NormPlace)] == [4, 8, 16, 32]


def test_norm_position_is_silent_without_norm() -> None:
    torch.manual_seed(0)
    before = SmallCNN(3, 10, 4, "before")
    torch.manual_seed(0)
    after = SmallCNN(3, 10, 4, "after")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(before(images), after(images))


@pytest.mark.parametrize(("pooling", "layer"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d)])
def test_small_cnns_pooling_is_the_one_asked_for(pooling: str, layer: type[nn.Module]) -> None:
    features = SmallCNN(3, 10, 4, "before", pooling=pooling).features
    assert all(type(block.pool) is layer for block in features)


def test_small_cnn_with_strides_has_no_pooling_and_the_same_resolution() -> None:
    strided, pooled = SmallCNN(3, 10, 4, "before", pooling="stride"), SmallCNN(3, 10, 4, "before")
    assert layer_kinds(strided.features.block1) == ["Conv2d", "NormPlace", "ReLU"]
    assert [block.conv.stride for block in strided.features] == [(2, 2)] * 4
    assert [block.conv.stride for block in pooled.features] == [(1, 1)] * 4
    images = torch.rand(2, 3, 64, 64)
    assert strided.features(images).shape == pooled.features(images).shape == (2, 32, 4, 4)
    assert {name: value.shape for name, value in strided.state_dict().items()} == {
        name: value.shape for name, value in pooled.state_dict().items()
    }


def test_small_cnns_initial_weights_follow_its_activation() -> None:
    inputs, outputs = 64 * 9, 128 * 9
    for activation, std in (("relu", (2 / inputs) ** 0.5), ("tanh", (2 / (inputs + outputs)) ** 0.5)):
        weight = SmallCNN(3, 10, 32, "before", activation=activation).features.block3.conv.weight
        assert weight.std().item() == pytest.approx(std, rel=0.02)


def test_small_cnns_defaults_are_drawn_as_they_always_were() -> None:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(bands, 4 * 2**number, 3) for number, bands in enumerate((3, 4, 8, 16))]
    dense = nn.Linear(32, 10)
    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    torch.manual_seed(0)
    network = SmallCNN(3, 10, 4, "before")
    assert torch.equal(network.head.dense.weight, dense.weight)
    for block, layer in zip(network.features, convolutions, strict=True):
        assert torch.equal(block.conv.weight, layer.weight)
        assert not block.conv.bias.any()
