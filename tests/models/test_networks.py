"""The networks: LeNet and the small CNN exactly, any number of bands, and what is refused in one sentence."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import TimmModel
from terrablate.errors import ConfigError
from terrablate.models.build import build, native_network, timm_network
from terrablate.models.networks import LeNet, NormPlace, SmallCNN, classifiers

type Compose = Callable[..., Config]


def layer_kinds(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module]


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.items() if name in other)


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


def test_hidden_changes_lenets_first_dense_layer(compose: Compose) -> None:
    network = build(compose("model=lenet", "model.hidden=33"), 3, 10, 16).network
    assert network.get_submodule("head.dense1").out_features == 33


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


def test_norm_position_changes_what_the_pooling_sees(compose: Compose) -> None:
    seen: dict[str, torch.Tensor] = {}
    for position in ("before", "after"):
        config = compose("model=small_cnn", "model.width=8", f"model.norm_position={position}", "norm=batch")
        network = build(config, 3, 10, 16).network.train()
        pool = network.get_submodule("features.block1.pool")
        pool.register_forward_pre_hook(lambda _, inputs, position=position: seen.update({position: inputs[0].detach()}))
        network(torch.rand(32, 3, 16, 16))
    before, after = seen["before"], seen["after"]
    assert (before >= 0).all()  # the activation comes last
    assert (after < 0).any()  # the normalisation comes last
    torch.testing.assert_close(after.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    assert before.mean() > 0.1


def test_norm_position_is_silent_without_norm() -> None:
    torch.manual_seed(0)
    before = SmallCNN(3, 10, 4, "before")
    torch.manual_seed(0)
    after = SmallCNN(3, 10, 4, "after")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(before(images), after(images))


# --- any network


@pytest.mark.parametrize("bands", [1, 3, 4, 13])
@pytest.mark.parametrize("model", ["model=resnet18", "model=lenet", "model=small_cnn", "model=timm"])
def test_any_number_of_bands(compose: Compose, model: str, bands: int) -> None:
    network = build(compose(model), bands, 10, 32).network.eval()
    images = torch.rand(2, bands, 32, 32, requires_grad=True)
    logits = network(images)
    assert logits.shape == (2, 10)
    logits.square().sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().amax((0, 2, 3)) > 0).all()  # every band is looked at


@pytest.mark.parametrize(
    ("model", "size"),
    [("model=lenet", 10), ("model=lenet", 12), ("model=lenet", 15), ("model=small_cnn", 8)],
)
def test_images_that_are_too_small_are_refused_in_one_sentence(compose: Compose, model: str, size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        build(compose(model), 3, 10, size)
    name = model.removeprefix("model=")
    assert str(caught.value).startswith(f"model={name}: cannot take images of 3 x {size} x {size}; data.image_size")
    assert "\n" not in str(caught.value)


def test_an_image_size_that_a_timm_network_cannot_divide_is_refused_in_one_sentence(compose: Compose) -> None:
    config = compose("model=timm", "model.timm_name=halonet26t")  # its assertion has no text
    with pytest.raises(ConfigError, match=r"^model=timm: cannot take images of 3 x 72 x 72; .*\(AssertionError\)$"):
        build(config, 3, 10, 72)


@pytest.mark.parametrize("override", ["norm=batch", "norm=none", "dropout=head", "dropout=none"])
@pytest.mark.parametrize("model", ["model=lenet", "model=small_cnn", "model=timm"])
def test_surgery_leaves_the_initial_weights_of_the_seed(compose: Compose, model: str, override: str) -> None:
    native = build(compose(model, "seed=3"), 3, 10, 32).network
    if (model, override) == ("model=timm", "norm=none"):
        changed = build(compose(model, "seed=3", override), 3, 10, 32).network
        assert len(changed.state_dict()) < len(native.state_dict())
    else:
        changed = build(compose(model, "seed=3", override), 3, 10, 32).network
        assert set(native.state_dict()) <= set(changed.state_dict())
    assert same_weights(native, changed)


def test_the_seed_changes_the_initial_weights(compose: Compose) -> None:
    assert not same_weights(*(build(compose("model=lenet", f"seed={s}"), 3, 10, 16).network for s in (0, 1)))


@pytest.mark.parametrize("model", ["model=lenet", "model=small_cnn", "model=timm", "model=resnet18"])
def test_neutral_choices_leave_the_network_bit_identical(compose: Compose, model: str) -> None:
    config = compose(model, "norm=native", "dropout=native", "weights=scratch")
    built = build(config, 4, 10, 32)
    torch.manual_seed(0)
    untouched = native_network(config.model, 4, 10, 32)
    assert built.surgery == {"norm": 0, "dropout": 0}
    assert repr(untouched) == repr(built.network)
    assert built.native_keys == set(untouched.state_dict())
    untouched.load_state_dict(built.network.state_dict())
    images = torch.rand(4, 4, 32, 32)
    torch.manual_seed(1)
    expected = untouched.train()(images)
    torch.manual_seed(1)
    assert torch.equal(built.network.train()(images), expected)


# --- timm


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"colour": 3}, "unexpected keyword argument 'colour'"),
        ({"act_layer": "bent"}, ""),
    ],
)
def test_arguments_that_timm_refuses_are_told_in_one_sentence(kwargs: dict[str, object], reason: str) -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="test_efficientnet", kwargs=kwargs)
    key, value = next(iter(kwargs.items()))
    with pytest.raises(ConfigError) as caught:
        native_network(model, 3, 10, 32)
    assert str(caught.value).startswith(f"model.timm_name=test_efficientnet with {key}={value}: timm refuses it: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kwargs_reach_the_network() -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="test_vit", kwargs={"drop_path_rate": 0.4, "depth": 2})
    network = timm_network(model, in_chans=4, num_classes=10, image_size=48)
    assert len(network.get_submodule("blocks")) == 2
    assert network.get_submodule("blocks.1.drop_path1").drop_prob == pytest.approx(0.4)


def test_a_network_of_a_fixed_size_is_built_for_the_images() -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="test_vit")
    network = timm_network(model, in_chans=4, num_classes=10, image_size=48)
    assert network(torch.zeros(2, 4, 48, 48)).shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_byobnet", "test_convnext", "mobilenetv3_small_050"])
def test_the_classifier_of_a_timm_network_is_found(name: str) -> None:
    model = TimmModel(name="timm", builder="timm", timm_name=name)
    [classifier] = classifiers(timm_network(model, in_chans=3, num_classes=7, image_size=64))
    assert isinstance(classifier, nn.Linear)
    assert classifier.out_features == 7


def test_both_classifiers_of_a_distilled_network_are_found() -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="deit_tiny_distilled_patch16_224", kwargs={"depth": 1})
    found = classifiers(timm_network(model, in_chans=3, num_classes=7, image_size=32))
    assert [layer.out_features for layer in found] == [7, 7]
