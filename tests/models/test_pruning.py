"""Structured pruning of networks: which channels go, what is left of layers, and shapes that are found again."""

import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from pruned import cuts_at, unread, vary
from surgery import BANDS, CLASSES, REPRESENTATIVES, SIZE, images, network_of, norm_of
from terrablate.config import Config
from terrablate.describe.trace import trace
from terrablate.errors import WeightsError
from terrablate.models.build import build
from terrablate.models.dropout import apply_dropout
from terrablate.models.networks import SmallCNN
from terrablate.models.norm import apply_norm
from terrablate.models.pruning import channel_counts, choose, cost, cut_channels, cuts_of, replay
from terrablate.models.pruning.cuts import with_cuts

type Compose = Callable[..., Config]

SHAPE = (BANDS, SIZE, SIZE)
CONVOLUTIONS = [f"features.block{number}.conv" for number in range(1, 5)]


@pytest.fixture
def small_cnn() -> nn.Module:
    """16, 32, 64 and 128 channels, a dense layer, no norm."""
    return network_of("small_cnn")


def removed(network: nn.Module, **options: object) -> dict[str, list[int]]:
    """Output channels that go, by layer."""
    return {layer: channels for layer, side, channels in cuts_at(network, SHAPE, **options) if side == "out"}


# --- which channels


@pytest.mark.parametrize(("importance", "power"), [("l1", 1), ("l2", 2)])
def test_channels_of_the_smallest_norm_go(small_cnn: nn.Module, importance: str, power: int) -> None:
    found = removed(small_cnn, importance=importance)
    assert list(found) == CONVOLUTIONS
    layers = [small_cnn.get_submodule(name) for name in [*CONVOLUTIONS, "head.dense"]]
    for name, layer, reader in zip(CONVOLUTIONS, layers, layers[1:], strict=False):
        own = layer.weight.abs().pow(power).flatten(1).sum(1)
        read = reader.weight.abs().pow(power).transpose(0, 1).flatten(1).sum(1)
        count = round(0.3 * len(own))
        assert found[name] == sorted((own + read).argsort()[:count].tolist())


def test_chance_looks_at_no_weight_and_repeats_itself(small_cnn: nn.Module) -> None:
    other = SmallCNN(BANDS, CLASSES, 16, "before")
    assert removed(small_cnn, importance="random") == removed(other, importance="random")
    assert removed(small_cnn, importance="random") != removed(small_cnn, importance="random", seed=1)
    assert removed(small_cnn, importance="l2") != removed(other, importance="l2")


def test_the_global_scope_takes_from_the_layers_whose_channels_differ_most(small_cnn: nn.Module) -> None:
    with torch.no_grad():
        small_cnn.features.block3.conv.weight[:32] *= 0.01
        small_cnn.features.block4.conv.weight[:, :32] *= 0.01
    found = removed(small_cnn, share=0.1, scope="global")
    assert sum(map(len, found.values())) == round(0.1 * 240)
    assert set(found) == {"features.block3.conv"}
    assert set(found["features.block3.conv"]) <= set(range(32))


def test_a_layer_keeps_one_channel_whatever_is_asked(small_cnn: nn.Module) -> None:
    for scope in ("uniform", "global"):
        network = copy.deepcopy(small_cnn)
        cut_channels(network, cuts_at(network, SHAPE, 0.999, scope=scope))
        assert [network.get_submodule(name).out_channels for name in CONVOLUTIONS] == [1, 1, 1, 1]
        assert network(images()).shape == (4, CLASSES)


def test_bands_and_classes_stay(small_cnn: nn.Module) -> None:
    cut_channels(small_cnn, cuts_at(small_cnn, SHAPE, 0.5))
    assert small_cnn.features.block1.conv.in_channels == BANDS
    assert small_cnn.head.dense.out_features == CLASSES


def test_later_rounds_count_from_the_channels_at_first(small_cnn: nn.Module) -> None:
    initial = channel_counts(small_cnn)
    left = []
    for share in (0.1, 0.2, 0.2, 0.5):
        rng = np.random.default_rng(0)
        cuts = choose(small_cnn, SHAPE, share=share, initial=initial, importance="l2", scope="uniform", rng=rng)
        cut_channels(small_cnn, cuts)
        left.append([small_cnn.get_submodule(name).out_channels for name in CONVOLUTIONS])
    assert left == [[14, 29, 58, 115], [13, 26, 51, 102], [13, 26, 51, 102], [8, 16, 32, 64]]


def test_nothing_goes_at_a_share_of_zero(small_cnn: nn.Module) -> None:
    assert cuts_at(small_cnn, SHAPE, 0.0) == []
    assert cuts_at(small_cnn, SHAPE, 0.0, scope="global") == []


def test_the_two_norms_disagree(small_cnn: nn.Module) -> None:
    assert removed(small_cnn, importance="l1") != removed(small_cnn, importance="l2")


# --- what is left


@pytest.mark.parametrize("norm", ["native", "batch", "group", "layer", "instance", "none"])
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_removing_what_nothing_reads_changes_no_answer(name: str, norm: str) -> None:
    network = network_of(name)
    if norm != "native":
        apply_norm(network, norm_of(norm))
    vary(network)
    if (name, norm) == ("convnext_atto", "instance"):
        pytest.skip("normalises after global pooling, where instance normalisation has nothing to do")
    cuts = cuts_at(network, SHAPE)
    assert cuts
    expected = unread(network, cuts)
    cut_channels(network, cuts)
    with torch.no_grad():
        given, wanted = network(images()), expected(images())
    if (
        norm not in ("group", "layer") or name == "test_vit"
    ):  # a group's statistics are of all its channels, also of those unread
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    network.train()
    network(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_groups_keep_as_many_channels_each() -> None:
    network = network_of("small_cnn")
    apply_norm(network, norm_of("group", groups=4))
    cut_channels(network, cuts_at(network, SHAPE, 0.3))
    for block in network.features:
        assert block.norm.num_groups == 4
        assert block.norm.num_channels == block.conv.out_channels
        assert block.norm.num_channels % 4 == 0
    assert [block.conv.out_channels for block in network.features] == [12, 24, 44, 88]  # 4 blocks of 3, 6, 11, 22


def test_norms_and_dropout_that_surgery_appended_lose_the_same_channels() -> None:
    network = network_of("squeezenet")
    apply_norm(network, norm_of("batch"))
    apply_dropout(network, type("Section", (), {"name": "spatial", "p": 0.1})())
    cut_channels(network, cuts_at(network, SHAPE))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and hasattr(layer, "norm")]
    assert layers
    assert all(layer.norm.num_features == layer.out_channels for layer in layers)
    assert sum(layer.out_channels < 64 and layer.out_channels % 16 != 0 for layer in layers) > 3
    network.train()(images())


def test_what_is_left_keeps_its_values_gradients_and_whether_it_trains(small_cnn: nn.Module) -> None:
    small_cnn(images()).sum().backward()
    for parameter in small_cnn.features.block2.parameters():
        parameter.requires_grad_(False)
    before = {name: (value.detach().clone(), value.grad.clone()) for name, value in small_cnn.named_parameters()}
    kept = cut_channels(small_cnn, cuts_at(small_cnn, SHAPE))
    assert set(kept) == set(before)
    for name, value in small_cnn.named_parameters():
        old, gradient = before[name]
        assert torch.equal(value.flatten(), old.flatten()[kept[name]])
        assert torch.equal(value.grad.flatten(), gradient.flatten()[kept[name]])
        assert value.requires_grad == ("block2" not in name)


def test_parameters_and_macs_are_those_of_describe(compose: Compose) -> None:
    for model in ("small_cnn", "resnet20", "vit_tiny"):
        with torch.device("meta"):
            network = build(compose(f"model={model}", "data.image_size=64"), BANDS, CLASSES, 64).network
        calls = trace(network, torch.empty(1, *SHAPE, device="meta"))
        found = cost(network, SHAPE)
        assert found.macs == sum(call.macs for call in calls) > 0
        assert found.parameters == sum(parameter.numel() for parameter in network.parameters())


# --- the shapes again


def test_cuts_in_a_file_give_a_new_network_the_shapes_of_the_pruned_one(small_cnn: nn.Module) -> None:
    apply_norm(small_cnn, norm_of("batch"))
    fresh = copy.deepcopy(small_cnn)
    first = cuts_at(small_cnn, SHAPE, 0.2)
    cut_channels(small_cnn, first)
    second = cuts_at(small_cnn, SHAPE, 0.2)
    cut_channels(small_cnn, second)
    file = io.BytesIO()
    torch.save(with_cuts({"state_dict": vary(small_cnn).state_dict()}, [*first, *second]), file)
    file.seek(0)
    checkpoint = torch.load(file, weights_only=True)
    assert replay(fresh, checkpoint, "a run") == cuts_of(checkpoint) == [*first, *second]
    fresh.load_state_dict(checkpoint["state_dict"])
    with torch.no_grad():
        assert torch.equal(fresh.eval()(images()), small_cnn(images()))


def test_a_checkpoint_of_a_whole_network_holds_no_cuts(small_cnn: nn.Module) -> None:
    before = copy.deepcopy(small_cnn.state_dict())
    assert with_cuts({"epoch": 1}, []) == {"epoch": 1}
    assert replay(small_cnn, {"epoch": 1}, "a run") == []
    assert all(torch.equal(value, before[name]) for name, value in small_cnn.state_dict().items())


@pytest.mark.parametrize(
    "cut", [["features.block9.conv", "out", [1]], ["features.block1.conv", "out", [16]], ["features", "out", [1]]]
)
def test_cuts_of_another_network_are_refused(small_cnn: nn.Module, cut: list[object]) -> None:
    with pytest.raises(WeightsError, match=r"^weights: run a was pruned, and its cuts do not fit the network: "):
        replay(small_cnn, {"pruning": [cut]}, "run a")
