"""Normalisation surgery on networks of ours and of timm: what is removed, what stands there instead, what stays."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from terrablate.config.schema import Norm, TimmModel
from terrablate.errors import ConfigError
from terrablate.models.build import timm_network
from terrablate.models.networks import LeNet, SmallCNN
from terrablate.models.norm import LastDimBatchNorm, apply_norm, norm_layers

NETWORKS = [
    "resnet10t",  # batch
    "test_efficientnet",  # batch, fused with activations
    "test_efficientnet_gn",  # group
    "test_efficientnet_ln",  # layer, over channels, fused with activations
    "resnetv2_18",  # batch before the activation
    "convnext_atto",  # layer, over the last dimension and over channels
    "convnext_atto_rms",  # root mean square, over channels
    "convnextv2_atto",  # layer and global response
    "test_vit",  # layer, over tokens
    "test_vit4",  # root mean square, over tokens
    "poolformerv2_s12",  # group and layer, without bias
    "dpn48b",  # batch, fused with activations that work in place
]


def network_of(name: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    model = TimmModel(name="timm", builder="timm", timm_name=name, kwargs=kwargs)
    return timm_network(model, in_chans=4, num_classes=5, image_size=64)


def named_norms(network: nn.Module) -> list[str]:
    """Whatever has a name like a normalisation and no layers inside: found by another rule than the code's."""
    leaves = [layer for layer in network.modules() if not list(layer.children())]
    return [kind for layer in leaves if "norm" in (kind := type(layer).__name__).lower() and kind != "NormPlace"]


def train_step(network: nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    network.train()
    logits = network(torch.rand(4, 4, 64, 64))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    return logits.detach()


@pytest.fixture
def lenet() -> LeNet:
    torch.manual_seed(0)
    return LeNet(3, 5, 16, 10)


# --- native


@pytest.mark.parametrize("name", ["resnet10t", "test_vit"])
def test_native_changes_nothing(name: str) -> None:
    network = network_of(name)
    before = copy.deepcopy(network)
    assert apply_norm(network, Norm(name="native")) == 0
    assert repr(network) == repr(before)
    assert torch.equal(train_step(network), train_step(before))


# --- none


@pytest.mark.parametrize("name", NETWORKS)
def test_none_leaves_no_normalisation_in_a_network_that_still_learns(name: str) -> None:
    network = network_of(name)
    count = len(named_norms(network))
    # a few of timm's fused layers keep their activation as a child, so the rule of names undercounts them
    assert apply_norm(network, Norm(name="none")) >= max(count, 1)
    assert named_norms(network) == []
    assert list(norm_layers(network)) == []
    assert torch.isfinite(train_step(network)).all()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_none_takes_away_parameters_of_norms_and_no_others(name: str) -> None:
    network = network_of(name)
    of_norms = {
        f"{layer}.{parameter}" for layer, norm in norm_layers(network) for parameter, _ in norm.named_parameters()
    }
    before = {key for key, _ in network.named_parameters()}
    apply_norm(network, Norm(name="none"))
    assert {key for key, _ in network.named_parameters()} == before - of_norms


def test_none_keeps_the_activation_that_timm_fuses_with_a_norm() -> None:
    network = network_of("test_efficientnet")
    kinds = [type(layer).__name__ for layer in network.modules()]
    apply_norm(network, Norm(name="none"))
    after = [type(layer).__name__ for layer in network.modules()]
    assert kinds.count("SiLU") == after.count("SiLU") > 0
    stem = network.get_submodule("bn1")
    torch.testing.assert_close(stem(torch.tensor([[-2.0, 3.0]])), nn.functional.silu(torch.tensor([[-2.0, 3.0]])))


def test_none_does_not_let_an_activation_overwrite_what_a_shortcut_reads() -> None:
    network = network_of("dpn48b")
    apply_norm(network, Norm(name="none"))
    activation = next(layer for layer in network.modules() if isinstance(layer, nn.Sequential) and len(layer) == 1)
    values = torch.tensor([[-1.0, 2.0]])
    activation(values)
    assert values.tolist() == [[-1.0, 2.0]]


def test_none_changes_the_output() -> None:
    network, removed = network_of("resnet10t"), network_of("resnet10t")
    apply_norm(removed, Norm(name="none"))
    assert not torch.allclose(train_step(network), train_step(removed))


@pytest.mark.parametrize("network", [LeNet(3, 5, 16, 10), SmallCNN(3, 5, 4, "before")])
def test_none_changes_nothing_where_there_is_no_norm(network: nn.Module) -> None:
    images = torch.rand(2, 3, 16, 16)
    before = network(images)
    assert apply_norm(network, Norm(name="none")) == 0
    assert torch.equal(network(images), before)


# --- batch


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_takes_the_place_of_every_norm_under_the_old_names(name: str) -> None:
    network = network_of(name)
    before = {key: value.shape for key, value in network.named_parameters()}
    places = [layer for layer, _ in norm_layers(network)]
    assert apply_norm(network, Norm(name="batch", momentum=0.3, eps=0.01)) == len(places)
    after = dict(norm_layers(network))
    assert list(after) == places
    for layer in after.values():
        assert isinstance(layer, _BatchNorm)
        assert (layer.momentum, layer.eps) == (0.3, 0.01)
    shapes = {key: value.shape for key, value in network.named_parameters()}
    assert {key: shapes[key] for key in before} == before
    assert torch.isfinite(train_step(network)).all()


def test_batch_leaves_a_network_that_has_it_bit_identical() -> None:
    network, changed = network_of("resnet10t"), network_of("resnet10t")
    apply_norm(changed, Norm(name="batch"))
    assert torch.equal(train_step(network), train_step(changed))
    assert list(network.state_dict()) == list(changed.state_dict())


@pytest.mark.parametrize(("key", "value"), [("momentum", 0.9), ("eps", 0.5)])
def test_momentum_and_eps_turn(key: str, value: float) -> None:
    network, changed = network_of("resnet10t"), network_of("resnet10t")
    apply_norm(changed, Norm(name="batch", **{key: value}))
    first, second = train_step(network), train_step(changed)
    assert torch.equal(first, second) is (key == "momentum")  # in train mode momentum only moves the running statistics
    network.eval(), changed.eval()
    images = torch.rand(2, 4, 64, 64)
    assert not torch.allclose(network(images), changed(images))


def test_momentum_is_the_weight_of_the_newest_batch(lenet: LeNet) -> None:
    apply_norm(lenet, Norm(name="batch", momentum=0.25))
    norm = lenet.features.conv1.get_submodule("norm")
    images = torch.rand(8, 3, 16, 16)
    unnormalised = nn.functional.conv2d(images, lenet.features.conv1.weight, lenet.features.conv1.bias)
    lenet.train()(images)
    torch.testing.assert_close(norm.running_mean, 0.25 * unnormalised.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.75 + 0.25 * unnormalised.var((0, 2, 3)))


def test_batch_stands_after_each_convolution_of_a_network_without_norms(lenet: LeNet) -> None:
    names = list(lenet.state_dict())
    assert apply_norm(lenet, Norm(name="batch")) == 2
    assert set(names) < set(lenet.state_dict())
    seen: dict[str, torch.Tensor] = {}
    for act in ("act1", "act2"):
        layer = lenet.features.get_submodule(act)
        layer.register_forward_pre_hook(lambda _, inputs, act=act: seen.update({act: inputs[0].detach()}))
    lenet.train()(torch.rand(64, 3, 16, 16))
    for values in seen.values():
        channels = values.shape[1]
        torch.testing.assert_close(values.mean((0, 2, 3)), torch.zeros(channels), atol=1e-4, rtol=0)
        torch.testing.assert_close(values.std((0, 2, 3)), torch.ones(channels), atol=0.02, rtol=0)
    norm = lenet.features.conv1.get_submodule("norm")
    assert norm.num_batches_tracked == 1
    assert (norm.running_mean != 0).all()


def test_batch_in_eval_mode_uses_the_running_statistics(lenet: LeNet) -> None:
    apply_norm(lenet, Norm(name="batch", momentum=1.0))
    images = torch.rand(64, 3, 16, 16)
    trained = lenet.train()(images)
    torch.testing.assert_close(lenet.eval()(images), trained, atol=1e-3, rtol=1e-2)
    assert torch.allclose(lenet(images[:1]), lenet(images)[:1], atol=1e-6)  # an image does not depend on its batch


def test_batch_over_tokens_normalises_each_feature_over_batch_and_tokens() -> None:
    norm = LastDimBatchNorm(3)
    values = norm(torch.randn(8, 5, 3) * torch.tensor([1.0, 10.0, 0.1]) + 4)
    assert values.shape == (8, 5, 3)
    torch.testing.assert_close(values.mean((0, 1)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std((0, 1), correction=0), torch.ones(3), atol=1e-2, rtol=0)


def test_batch_keeps_the_activation_that_timm_fuses_with_a_norm() -> None:
    network = network_of("test_efficientnet_gn")
    apply_norm(network, Norm(name="batch"))
    stem = network.get_submodule("bn1").train()
    values = stem(torch.randn(16, stem.num_features, 4, 4))
    assert values.min() > -0.3  # SiLU's minimum is -0.278; normalised values go below -2


@pytest.mark.parametrize("name", ["none", "batch"])
def test_a_norm_that_is_an_activation_too_is_not_touched(name: str) -> None:
    with pytest.raises(ConfigError, match="EvoNorm2dS0 of this network can be neither removed nor replaced"):
        apply_norm(network_of("test_efficientnet_evos"), Norm(name=name))


def test_batch_is_refused_where_it_has_no_place() -> None:
    with pytest.raises(ConfigError, match="neither normalisation nor convolutions"):
        apply_norm(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), Norm(name="batch"))


def test_batch_is_refused_where_the_norm_has_no_counterpart() -> None:
    with pytest.raises(ConfigError, match="cannot take the place of LocalResponseNorm"):
        apply_norm(nn.Sequential(nn.LocalResponseNorm(2)), Norm(name="batch"))
