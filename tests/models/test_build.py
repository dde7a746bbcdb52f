"""The builder: every network of `conf/model` on any bands, surgery that leaves the rest alone, and what is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from terrablate.config import Config
from terrablate.config.choices import choices
from terrablate.errors import ConfigError
from terrablate.models.build import build, native_network
from terrablate.models.heads import classifiers

type Compose = Callable[..., Config]

MODELS = [choice.name for choice in choices("model")]
LARGER = {"alexnet": 67, "inception_v3": 75}
"""Networks that cannot take 64 pixels, with the smallest size that they take."""


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.items() if name in other)


# --- every network


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_network_takes_sentinel_2_chips_and_all_its_parameters_learn(compose: Compose, model: str) -> None:
    size = LARGER.get(model, 64)
    network = build(compose(f"model={model}", f"data.image_size={size}"), 13, 10, size).network.eval()
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and not layer.weight.any():  # timm's residual branches start at zero
            nn.init.ones_(layer.weight)
    images = torch.rand(2, 13, size, size, requires_grad=True)
    logits = network(images)
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []
    assert images.grad is not None
    assert (images.grad.abs().amax((0, 2, 3)) > 0).all()  # every band is looked at


@pytest.mark.parametrize("model", MODELS)
def test_every_network_can_be_built_without_values(compose: Compose, model: str) -> None:
    size = LARGER.get(model, 64)
    with torch.device("meta"):
        built = build(compose(f"model={model}", f"data.image_size={size}"), 4, 7, size)
    assert all(parameter.is_meta for parameter in built.network.parameters())
    assert built.native_keys == set(built.network.state_dict())
    assert [layer.weight.shape[0] for layer in classifiers(built.network)] == [7]


@pytest.mark.slow
@pytest.mark.parametrize("size", [33, 65])
@pytest.mark.parametrize("model", MODELS)
def test_odd_sizes_work_or_are_refused_with_sizes_that_do(compose: Compose, model: str, size: int) -> None:
    def given(side: int) -> Config:
        return compose(f"model={model}", f"data.image_size={side}")

    with torch.device("meta"):
        try:
            build(given(size), 13, 10, size)
        except ConfigError as error:
            message = str(error)
            assert message.startswith(f"model={model}: ")
            assert message.endswith(" resizes")
            taken = int(message.split("data.image_size=")[1].split()[0])
            build(given(taken), 13, 10, taken)


@pytest.mark.parametrize("model", MODELS)
def test_batches_of_one_are_refused_where_batch_normalisation_trains(compose: Compose, model: str) -> None:
    size = LARGER.get(model, 64)
    config = compose(f"model={model}", f"data.image_size={size}")
    with torch.device("meta"):
        layers = sum(isinstance(layer, _BatchNorm) for layer in native_network(config.model, 3, 10, size).modules())
        config.batch_size = 1
        if not layers:
            build(config, 3, 10, size)
            return
        with pytest.raises(ConfigError) as caught:
            build(config, 3, 10, size)
    assert str(caught.value) == (
        f"batch_size=1: model={model} has {layers} layers of batch normalisation, which cannot learn from one image;"
        " use at least 2, or norm=none, group, layer or instance"
    )


@pytest.mark.parametrize("overrides", ["norm=none", "norm=group", "norm=native"])
def test_batches_of_one_are_taken_where_no_batch_normalisation_trains(compose: Compose, overrides: str) -> None:
    config = compose("model=resnet20", overrides)
    config.batch_size = 1
    if config.norm.name == "native":
        config.norm.frozen = True  # as pretrained weights allow
    with torch.device("meta"):
        build(config, 3, 10, 32)


# --- choices of our own networks


def test_hidden_changes_lenets_first_dense_layer(compose: Compose) -> None:
    network = build(compose("model=lenet", "model.hidden=33"), 3, 10, 16).network
    assert network.get_submodule("head.dense1").out_features == 33


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


@pytest.mark.parametrize(
    ("overrides", "kinds"),
    [
        ("model=lenet model.pooling=max model.activation=relu", ["Conv2d", "ReLU", "MaxPool2d"] * 2),
        ("model=lenet model.pooling=stride model.activation=tanh", ["Conv2d", "Tanh"] * 2),
        ("model=small_cnn model.pooling=average model.activation=sigmoid", ["Conv2d", "Sigmoid", "AvgPool2d"] * 4),
        ("model=small_cnn model.pooling=stride", ["Conv2d", "ReLU"] * 4),
        ("model=mlp model.hidden=[7,6,5] model.activation=tanh", []),
    ],
)
def test_pooling_and_activation_reach_the_network(compose: Compose, overrides: str, kinds: list[str]) -> None:
    network = build(compose(*overrides.split()), 3, 10, 32).network
    parts = [
        layer for name, layer in network.named_modules() if name.startswith("features") and not [*layer.children()]
    ]
    assert [type(layer).__name__ for layer in parts if type(layer).__name__ != "NormPlace"] == kinds
    if not kinds:
        assert [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)] == [7, 6, 5, 10]


def test_depth_changes_the_small_resnet(compose: Compose) -> None:
    network = build(compose("model=resnet20", "model.depth=14"), 3, 10, 32).network
    assert [len(network.get_submodule(f"layer{stage}")) for stage in (1, 2, 3)] == [2, 2, 2]
    with pytest.raises(ConfigError, match=r"^model.depth=21: must be 6n \+ 2, such as 20 or 26$"):
        compose("model=resnet20", "model.depth=21")


def test_the_shape_of_the_local_cnn_follows_its_keys(compose: Compose) -> None:
    keys = ("model.channels=[4,6,8]", "model.kernel=3", "model.stride=1", "model.hidden=11")
    network = build(compose("model=local_cnn", *keys), 3, 10, 16).network
    weights = [network.get_parameter(f"features.local{number}.weight").shape for number in (1, 2, 3)]
    assert weights == [(14 * 14, 4, 27), (12 * 12, 6, 36), (10 * 10, 8, 54)]
    assert network.get_submodule("head.dense1").out_features == 11


# --- surgery, neutral choices, refusals


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
    assert str(caught.value) == (
        f"model={name}: needs images of at least 16 pixels a side, data gives {size}; data.image_size=16 resizes"
    )
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize(
    "model", ["model=lenet", "model=small_cnn", "model=timm", "model=resnet20", "model=squeezenet1_0"]
)
def test_neutral_choices_leave_the_network_bit_identical(compose: Compose, model: str) -> None:
    config = compose(model, "norm=native", "dropout=native", "weights=scratch")
    built = build(config, 4, 10, 32)
    torch.manual_seed(0)
    untouched = native_network(config.model, 4, 10, 32)
    assert built.surgery == {"stem": 0, "init": 0, "norm": 0, "dropout": 0}
    assert repr(untouched) == repr(built.network)
    assert built.native_keys == set(untouched.state_dict())
    untouched.load_state_dict(built.network.state_dict())
    images = torch.rand(4, 4, 32, 32)
    torch.manual_seed(1)
    expected = untouched.train()(images)
    torch.manual_seed(1)
    assert torch.equal(built.network.train()(images), expected)
