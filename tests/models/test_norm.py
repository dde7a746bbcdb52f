"""Normalisation surgery that adds no layers: what is left alone, what is tuned in place, what is removed."""

import copy

import pytest
import torch
from torch import nn

from surgery import REPRESENTATIVES, images, network_of, norm_of, same_outputs, train_step
from terrablate.errors import ConfigError
from terrablate.models.networks import LeNet, SmallCNN
from terrablate.models.norm import apply_norm, norm_layers

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


def named_norms(network: nn.Module) -> list[str]:
    """Whatever has a name like a normalisation and no layers inside: found by another rule than the code's."""
    leaves = [layer for layer in network.modules() if not list(layer.children())]
    return [kind for layer in leaves if "norm" in (kind := type(layer).__name__).lower() and kind != "NormPlace"]


# --- native


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_native_changes_nothing(name: str) -> None:
    network = network_of(name)
    before = copy.deepcopy(network)
    assert apply_norm(network, norm_of("native")) == 0
    assert repr(network) == repr(before)
    assert same_outputs(network, before)


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet"])
def test_a_momentum_of_native_moves_only_the_running_statistics(name: str) -> None:
    network, changed = network_of(name), network_of(name)
    layers = [layer for layer in changed.modules() if isinstance(layer, nn.BatchNorm2d)]
    eps = [layer.eps for layer in layers]
    assert apply_norm(changed, norm_of("native", momentum=0.9)) == len(layers) > 0
    assert [layer.momentum for layer in layers] == [0.9] * len(layers)
    assert [layer.eps for layer in layers] == eps
    assert torch.equal(train_step(network), train_step(changed))
    assert not torch.allclose(network.eval()(images()), changed.eval()(images()))


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "convnext_atto", "test_vit", "test_vit4"])
def test_an_eps_of_native_changes_every_norm_in_place(name: str) -> None:
    network, changed = network_of(name), network_of(name)
    kinds = [type(layer) for layer in changed.modules()]
    layers = [layer for _, layer in norm_layers(changed)]
    assert apply_norm(changed, norm_of("native", eps=0.5)) == len(layers) > 0
    assert [layer.eps for layer in layers] == [0.5] * len(layers)
    assert [type(layer) for layer in changed.modules()] == kinds
    assert not torch.allclose(train_step(network), train_step(changed))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("test_vit", {"momentum": 0.5}, r"^norm\.momentum=0\.5: no normalisation layer of this network has it"),
        ("lenet", {"momentum": 0.5}, r"^norm\.momentum=0\.5: no normalisation layer"),
        ("lenet", {"eps": 0.01}, r"^norm\.eps=0\.01: no normalisation layer"),
    ],
)
def test_a_setting_that_no_layer_has_is_refused(name: str, changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_norm(network_of(name), norm_of("native", **changes))


# --- none


@pytest.mark.parametrize("name", NETWORKS)
def test_none_leaves_no_normalisation_in_a_network_that_still_learns(name: str) -> None:
    network = network_of(name)
    count = len(named_norms(network))
    # a few of timm's fused layers keep their activation as a child, so the rule of names undercounts them
    assert apply_norm(network, norm_of("none")) >= max(count, 1)
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
    apply_norm(network, norm_of("none"))
    assert {key for key, _ in network.named_parameters()} == before - of_norms


def test_none_keeps_the_activation_that_timm_fuses_with_a_norm() -> None:
    network = network_of("test_efficientnet")
    kinds = [type(layer).__name__ for layer in network.modules()]
    apply_norm(network, norm_of("none"))
    after = [type(layer).__name__ for layer in network.modules()]
    assert kinds.count("SiLU") == after.count("SiLU") > 0
    stem = network.get_submodule("bn1")
    torch.testing.assert_close(stem(torch.tensor([[-2.0, 3.0]])), nn.functional.silu(torch.tensor([[-2.0, 3.0]])))


def test_none_does_not_let_an_activation_overwrite_what_a_shortcut_reads() -> None:
    network = network_of("dpn48b")
    apply_norm(network, norm_of("none"))
    activation = next(layer for layer in network.modules() if isinstance(layer, nn.Sequential) and len(layer) == 1)
    values = torch.tensor([[-1.0, 2.0]])
    activation(values)
    assert values.tolist() == [[-1.0, 2.0]]


def test_none_changes_the_output() -> None:
    network, removed = network_of("resnet10t"), network_of("resnet10t")
    apply_norm(removed, norm_of("none"))
    assert not torch.allclose(train_step(network), train_step(removed))


def test_none_removes_local_response_normalisation() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LocalResponseNorm(5), nn.ReLU())
    assert apply_norm(network, norm_of("none")) == 1
    assert isinstance(network[1], nn.Identity)


def test_a_norm_that_two_parents_share_is_removed_from_both() -> None:
    shared = nn.BatchNorm2d(3)
    network = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    apply_norm(network, norm_of("none"))
    assert list(norm_layers(network)) == []


@pytest.mark.parametrize("network", [LeNet(3, 5, 16, 10), SmallCNN(3, 5, 4, "before")])
def test_none_changes_nothing_where_there_is_no_norm(network: nn.Module) -> None:
    small = torch.rand(2, 3, 16, 16)
    before = network(small)
    assert apply_norm(network, norm_of("none")) == 0
    assert torch.equal(network(small), before)


@pytest.mark.parametrize("name", ["none", "batch", "group", "layer", "instance"])
def test_a_norm_that_is_an_activation_too_is_not_touched(name: str) -> None:
    message = f"^norm={name}: EvoNorm2dS0 of this network can be neither removed nor replaced"
    with pytest.raises(ConfigError, match=message):
        apply_norm(network_of("test_efficientnet_evos"), norm_of(name))
