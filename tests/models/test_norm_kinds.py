"""Normalisation of another kind in any network: counts, types, statistics of what comes out, what is carried over."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from surgery import REPRESENTATIVES, SIZE, assert_trains_two_steps, images, network_of, norm_of, train_step
from terrablate.errors import ConfigError
from terrablate.models.networks import LeNet
from terrablate.models.norm import (
    LastDimBatchNorm,
    LastDimGroupNorm,
    LastDimInstanceNorm,
    apply_norm,
    norm_layers,
)

KINDS = {"batch": _BatchNorm, "group": nn.GroupNorm, "layer": (nn.LayerNorm, nn.GroupNorm), "instance": _InstanceNorm}
CASES = [(name, kind) for name in REPRESENTATIVES for kind in KINDS if (name, kind) != ("convnext_atto", "instance")]
"""Without the one that is refused: ConvNeXt has a norm after global pooling, where a channel has one value."""
OTHERS = ["test_efficientnet_gn", "test_efficientnet_ln", "resnetv2_18", "convnext_atto_rms", "convnextv2_atto"]
OTHERS += ["test_vit4", "poolformerv2_s12", "dpn48b"]
"""Networks with norms of other kinds than the representatives'."""


@pytest.fixture
def lenet() -> LeNet:
    network = network_of("lenet")
    assert isinstance(network, LeNet)
    return network


# --- in every network


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_network_trains_two_steps_with_it(name: str, kind: str) -> None:
    network = network_of(name)
    apply_norm(network, norm_of(kind))
    assert_trains_two_steps(network)


@pytest.mark.parametrize(
    ("name", "kind"), [*CASES, *((name, kind) for name in OTHERS for kind in ("batch", "group", "layer"))]
)
def test_every_norm_of_a_network_becomes_of_the_kind_under_its_old_name(name: str, kind: str) -> None:
    network = network_of(name)
    parameters = {key: value.shape for key, value in network.named_parameters()}
    places = [layer for layer, _ in norm_layers(network)]
    changed = apply_norm(network, norm_of(kind, eps=0.01))
    after = dict(norm_layers(network))
    assert changed == len(after) > 0
    if places:
        assert list(after) == places
    for layer in after.values():
        assert isinstance(layer, KINDS[kind])
        assert layer.eps == 0.01
        assert layer.weight is not None
    shapes = {key: value.shape for key, value in network.named_parameters()}
    assert {key: shapes[key] for key in parameters} == parameters


@pytest.mark.parametrize(("name", "count"), [("lenet", 2), ("small_cnn", 4), ("squeezenet", 25)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_norms_gets_them_after_its_convolutions_but_not_its_classifier(
    name: str, count: int, kind: str
) -> None:
    network = network_of(name)
    assert apply_norm(network, norm_of(kind)) == count
    assert len(list(norm_layers(network))) == count
    if name == "squeezenet":
        assert list(network.classifier[1].children()) == []


def test_gates_of_channels_get_no_norm() -> None:
    network = network_of("test_nfnet")
    apply_norm(network, norm_of("batch"))
    gates = [layer for layer in network.modules() if type(layer).__name__ in ("SEModule", "SqueezeExcite")]
    assert gates
    assert not any(list(norm_layers(gate)) for gate in gates)


# --- statistics of what comes out


def through_norms(network: nn.Module) -> list[tuple[nn.Module, torch.Tensor, torch.Tensor]]:
    """What enters and leaves each norm in train mode, without scale, shift and the activation that some have inside."""
    seen: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    for _, layer in norm_layers(network):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        for name, _ in layer.named_children():
            setattr(layer, name, nn.Identity())
        layer.register_forward_hook(
            lambda layer, inputs, output: seen.append((layer, inputs[0].detach().clone(), output.detach().clone()))
        )
    network.train()(images())
    return seen


def normalised_rows(layer: nn.Module, kind: str, values: torch.Tensor) -> torch.Tensor:
    """Rows over which the values must have mean 0 and variance 1, by the definition of each kind."""
    last_dim = isinstance(layer, nn.LayerNorm | LastDimBatchNorm | LastDimGroupNorm | LastDimInstanceNorm)
    if "2d" in type(layer).__name__ and isinstance(layer, nn.LayerNorm):
        return values.movedim(1, -1).flatten(0, -2)  # ConvNeXt's own, over channels of a pixel
    match kind:
        case "batch":
            return (values if last_dim else values.movedim(1, -1)).flatten(0, -2).T
        case "group" if last_dim:
            return values.unflatten(-1, (layer.num_groups, -1)).flatten(0, -2)
        case "group":
            return values.unflatten(1, (layer.num_groups, -1)).flatten(0, 1).flatten(1)
        case "layer":
            return values.flatten(0, -2) if last_dim else values.flatten(1)
    return (values.movedim(-1, 1) if last_dim else values).flatten(0, 1).flatten(1)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_comes_out_has_mean_0_and_variance_1_over_what_the_kind_normalises(name: str, kind: str) -> None:
    network = network_of(name)
    apply_norm(network, norm_of(kind, eps=1e-12))
    through = through_norms(network)
    assert len(through) == len(list(norm_layers(network)))
    for layer, entered, left in through:
        before = normalised_rows(layer, kind, entered).double()
        after = normalised_rows(layer, kind, left).double()
        assert after.shape[1] > 1
        deviations = before.std(1, correction=0)
        varies = deviations > 1e-4  # a channel that a ReLU left at zero stays there
        assert varies.float().mean() > 0.5
        before, after, deviations = before[varies], after[varies], deviations[varies]
        standardised = (before - before.mean(1, keepdim=True)) / deviations[:, None]
        torch.testing.assert_close(after, standardised, atol=2e-2, rtol=1e-3)
        torch.testing.assert_close(after.mean(1), torch.zeros_like(deviations), atol=5e-3, rtol=0)
        torch.testing.assert_close(after.var(1, correction=0), torch.ones_like(deviations), atol=1e-2, rtol=0)


@pytest.mark.parametrize("kind", ["group", "layer", "instance"])
def test_an_image_does_not_depend_on_its_batch(kind: str, lenet: LeNet) -> None:
    apply_norm(lenet, norm_of(kind))
    lenet.train()
    torch.testing.assert_close(lenet(images()[:1]), lenet(images())[:1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("channels", "asked", "groups"), [(64, 32, 32), (48, 32, 24), (30, 8, 6), (7, 4, 1), (8, 3, 2)]
)
def test_groups_are_the_largest_divisor_of_the_channels(channels: int, asked: int, groups: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels))
    apply_norm(network, norm_of("group", groups=asked))
    assert network[1].num_groups == groups


def test_groups_turn() -> None:
    logits = []
    for groups in (1, 4):
        network = network_of("resnet10t")
        apply_norm(network, norm_of("group", groups=groups))
        logits.append(train_step(network))
    assert not torch.allclose(*logits)


# --- scale and shift


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "test_vit", "convnext_atto"])
@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_shift_are_carried_over(name: str, kind: str) -> None:
    network = network_of(name)
    for _, layer in norm_layers(network):
        nn.init.uniform_(layer.weight)
        nn.init.uniform_(layer.bias)
    before = {key: value.clone() for key, value in network.named_parameters()}
    apply_norm(network, norm_of(kind))
    after = dict(network.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_a_scale_that_means_something_else_is_not_carried_over() -> None:
    network = network_of("convnextv2_atto")
    response = [name for name, layer in norm_layers(network) if type(layer).__name__ == "GlobalResponseNorm"]
    assert all((network.get_submodule(name).weight == 0).all() for name in response)
    apply_norm(network, norm_of("batch"))
    assert response
    assert all((network.get_submodule(name).weight == 1).all() for name in response)


@pytest.mark.parametrize("kind", KINDS)
def test_the_activation_that_timm_fuses_with_a_norm_stays(kind: str) -> None:
    network = network_of("test_efficientnet_gn" if kind != "group" else "test_efficientnet")
    apply_norm(network, norm_of(kind))
    stem = network.get_submodule("bn1").train()
    values = stem(torch.randn(16, len(stem.weight), 4, 4))
    assert values.max() > 1
    assert values.min() > -0.3  # SiLU's minimum is -0.278; normalised values go below -2


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_the_place_of_local_response_normalisation(kind: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.LocalResponseNorm(5), nn.Flatten(), nn.Linear(288, 2))
    assert apply_norm(network, norm_of(kind)) == 1
    assert isinstance(network[2], KINDS[kind])
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 2)


# --- of one kind already


@pytest.mark.parametrize(("name", "kind", "eps"), [("resnet10t", "batch", 1e-5), ("test_vit", "layer", 1e-6)])
def test_a_network_that_has_it_stays_bit_identical(name: str, kind: str, eps: float) -> None:
    network, changed = network_of(name), network_of(name)
    apply_norm(changed, norm_of(kind, eps=eps))
    assert torch.equal(train_step(network), train_step(changed))
    assert list(network.state_dict()) == list(changed.state_dict())


@pytest.mark.parametrize(("key", "value"), [("momentum", 0.9), ("eps", 0.5)])
def test_momentum_and_eps_of_batch_turn(key: str, value: float) -> None:
    network, changed = network_of("resnet10t"), network_of("resnet10t")
    apply_norm(changed, norm_of("batch", **{key: value}))
    first, second = train_step(network), train_step(changed)
    assert torch.equal(first, second) is (key == "momentum")  # in train mode momentum only moves the running statistics
    assert not torch.allclose(network.eval()(images()), changed.eval()(images()))


def test_momentum_is_the_weight_of_the_newest_batch(lenet: LeNet) -> None:
    apply_norm(lenet, norm_of("batch", momentum=0.25))
    norm = lenet.features.conv1.get_submodule("norm")
    unnormalised = nn.functional.conv2d(images(), lenet.features.conv1.weight, lenet.features.conv1.bias)
    lenet.train()(images())
    torch.testing.assert_close(norm.running_mean, 0.25 * unnormalised.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.75 + 0.25 * unnormalised.var((0, 2, 3)))


def test_batch_in_eval_mode_uses_the_running_statistics(lenet: LeNet) -> None:
    apply_norm(lenet, norm_of("batch", momentum=1.0))
    trained = lenet.train()(images(32))
    torch.testing.assert_close(lenet.eval()(images(32)), trained, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(lenet(images()[:1]), lenet(images())[:1], atol=1e-6, rtol=1e-5)


# --- errors


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_refused_where_it_has_no_place(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^norm={kind}: the network has neither normalisation nor convolutions"):
        apply_norm(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), norm_of(kind))


def test_it_is_refused_where_the_norm_has_no_counterpart() -> None:
    with pytest.raises(ConfigError, match=r"^norm=batch: cannot take the place of LocalResponseNorm"):
        apply_norm(nn.Sequential(nn.LocalResponseNorm(2)), norm_of("batch"))


def test_groups_of_one_channel_of_a_token_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^norm\.groups=64: a token of 64 channels .* use fewer than 64"):
        apply_norm(network_of("test_vit"), norm_of("group", groups=64))


@pytest.mark.parametrize(
    ("kind", "message"), [("instance", "norm=instance: one value"), ("group", "norm=group: a group")]
)
def test_a_map_of_one_pixel_is_refused_where_nothing_would_be_normalised(kind: str, message: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    apply_norm(network, norm_of(kind))
    for train in (True, False):
        with pytest.raises(ValueError, match=f"^{message} .* use larger images"):
            network.train(train)(torch.rand(2, 3, 3, 3))


def test_instance_after_global_pooling_is_refused_in_one_sentence(compose) -> None:
    from terrablate.models.build import build

    config = compose("model=timm", "model.timm_name=convnext_atto", "norm=instance", f"data.image_size={SIZE}")
    with pytest.raises(ConfigError, match=r"norm=instance: one value per channel, as after global pooling"):
        build(config, 4, 5, SIZE)
