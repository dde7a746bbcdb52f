"""Dropout inside a network: values or whole feature maps before convolutions, and stochastic depth."""

import copy

import pytest
import torch
import torchvision
from timm.layers import DropPath
from torch import nn

from surgery import REPRESENTATIVES, assert_trains_two_steps, images, network_of
from terrablate.config.schema import Dropout
from terrablate.errors import ConfigError
from terrablate.models.dropout import apply_dropout
from terrablate.models.networks import MLP, CifarResNet, LocalCNN

CONVOLUTIONS = [name for name in REPRESENTATIVES if name != "test_vit"]
BLOCKS = {"cifar_resnet": 3, "resnet10t": 4, "convnext_atto": 12, "test_vit": 6, "mobilenetv3_small_050": 7}
"""Residual blocks; some blocks of MobileNet have no shortcut."""
EVERYWHERE = [(name, kind) for name in CONVOLUTIONS for kind in ("conv", "spatial")]
EVERYWHERE += [(name, "path") for name in BLOCKS]


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


def places(network: nn.Module) -> list[str]:
    """Names of the layers before which dropout was put."""
    return [name for name, layer in network.named_modules() if isinstance(getattr(layer, "dropout", None), nn.Module)]


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_a_network_trains_two_steps_with_it(name: str, kind: str) -> None:
    network = network_of(name)
    apply_dropout(network, Dropout(name=kind, p=0.1))
    assert_trains_two_steps(network)


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_it_acts_in_train_mode_only_and_leaves_names_of_parameters(name: str, kind: str) -> None:
    network = network_of(name)
    with torch.no_grad():
        for parameter in network.parameters():  # some scales of branches start at zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    before = copy.deepcopy(network)
    assert apply_dropout(network, Dropout(name=kind, p=0.5)) > 0
    assert list(network.state_dict()) == list(before.state_dict())
    with torch.no_grad():
        assert torch.equal(network.eval()(images()), before.eval()(images()))
        network.train()
        assert not torch.allclose(network(images()), network(images()))


@pytest.mark.parametrize("kind", ["conv", "spatial", "path"])
def test_it_takes_the_place_of_the_networks_own_dropout(kind: str) -> None:
    network = network_of("convnext_atto", drop_rate=0.3, drop_path_rate=0.3)
    count = apply_dropout(network, Dropout(name=kind, p=0.1))
    dropping = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.p > 0]
    assert dropping == [0.1] * (0 if kind == "path" else count)
    assert max(rates(network)) == (0.1 if kind == "path" else 0)


# --- before convolutions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet", ["features.conv2"]),
        ("small_cnn", ["features.block2.conv", "features.block3.conv", "features.block4.conv"]),
    ],
)
@pytest.mark.parametrize("kind", ["conv", "spatial"])
def test_it_stands_before_every_convolution_but_the_first(name: str, expected: list[str], kind: str) -> None:
    network = network_of(name)
    assert apply_dropout(network, Dropout(name=kind, p=0.1)) == len(expected)
    assert places(network) == expected


def test_neither_the_classifier_nor_gates_lose_anything() -> None:
    network = network_of("squeezenet")
    assert apply_dropout(network, Dropout(name="conv", p=0.1)) == 24  # 26 convolutions with the first and the last
    assert not any(name.startswith("classifier") for name in places(network))
    network = network_of("test_efficientnet")
    apply_dropout(network, Dropout(name="conv", p=0.1))
    gated = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d) and ".se." in name]
    assert gated
    assert not set(gated) & set(places(network))


def test_locally_connected_layers_count_as_convolutions() -> None:
    network = LocalCNN(3, 5, 16, [4, 4], 3, 2, 8)
    assert apply_dropout(network, Dropout(name="conv", p=0.1)) == 1
    assert places(network) == ["features.local2"]


def into_second_convolution(kind: str, p: float) -> torch.Tensor:
    """What reaches LeNet's second convolution in train mode of an input of ones: 200,6,28,28."""
    network = network_of("lenet").train()
    apply_dropout(network, Dropout(name=kind, p=p))
    layer = network.features.conv2
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # after the hook of the dropout
    layer(torch.ones(200, 6, 28, 28))
    return seen[0]


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_conv_drops_single_values_and_scales_the_rest(p: float) -> None:
    values = into_second_convolution("conv", p)
    torch.testing.assert_close(values[values != 0], torch.full_like(values[values != 0], 1 / (1 - p)))
    assert (values == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    in_maps = (values == 0).float().mean((2, 3))
    assert in_maps.min() > p - 0.1  # no map is dropped as a whole
    assert in_maps.max() < p + 0.1


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_spatial_drops_whole_feature_maps_and_scales_the_rest(p: float) -> None:
    values = into_second_convolution("spatial", p)
    torch.testing.assert_close(values[values != 0], torch.full_like(values[values != 0], 1 / (1 - p)))
    in_maps = (values == 0).float().mean((2, 3))
    assert set(in_maps.flatten().tolist()) == {0.0, 1.0}
    assert in_maps.mean().item() == pytest.approx(p, abs=0.05)
    per_image = in_maps.mean(1)
    assert len(per_image.unique()) > 2  # images lose different maps


@pytest.mark.parametrize("kind", ["conv", "spatial"])
def test_it_is_refused_where_there_is_no_second_convolution(kind: str) -> None:
    message = rf"^dropout={kind}: the network has no convolution after its first"
    for network in (network_of("test_vit"), MLP(3, 5, 16, [8], "relu")):
        with pytest.raises(ConfigError, match=message):
            apply_dropout(network, Dropout(name=kind, p=0.1))


# --- stochastic depth


def rates(network: nn.Module) -> list[float]:
    return [layer.drop_prob for layer in network.modules() if isinstance(layer, DropPath)]


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_rates_of_blocks_grow_linearly_to_p(name: str) -> None:
    network = network_of(name)
    count = apply_dropout(network, Dropout(name="path", p=0.4))
    assert count == BLOCKS[name]
    assert rates(network) == pytest.approx([0.4 * number / count for number in range(1, count + 1)])


def test_both_branches_of_a_transformer_block_have_its_rate() -> None:
    network = network_of("test_vit")
    count = apply_dropout(network, Dropout(name="path", p=0.3))
    assert count == len(network.blocks) == 6
    for number, block in enumerate(network.blocks, start=1):
        assert block.drop_path1.drop_prob == block.drop_path2.drop_prob == pytest.approx(0.3 * number / count)


def test_blocks_without_a_shortcut_are_left_out() -> None:
    network = network_of("mobilenetv3_small_050")
    with_skip = [layer for layer in network.modules() if getattr(layer, "has_skip", None) is True]
    without = [layer for layer in network.modules() if getattr(layer, "has_skip", None) is False]
    assert apply_dropout(network, Dropout(name="path", p=0.3)) == len(with_skip) > 0
    assert all(isinstance(block.drop_path, DropPath) for block in with_skip)
    assert without
    assert not any(isinstance(getattr(block, "drop_path", None), DropPath) for block in without)


def test_our_own_residual_networks_have_places() -> None:
    network = CifarResNet(3, 5, 20)
    assert apply_dropout(network, Dropout(name="path", p=0.9)) == 9
    assert rates(network) == pytest.approx([0.1 * number for number in range(1, 10)])


def test_stochastic_depth_of_torchvision_is_taken_over() -> None:
    network = torchvision.models.efficientnet_b0(num_classes=5)
    residual = [block for block in network.modules() if getattr(block, "use_res_connect", False)]
    assert apply_dropout(network, Dropout(name="path", p=0.2)) == len(residual) == 9
    assert rates(network)[-1] == pytest.approx(0.2)


def test_path_leaves_out_the_branch_of_whole_images_and_scales_it_for_the_others() -> None:
    network = CifarResNet(3, 5, 8)
    apply_dropout(network, Dropout(name="path", p=0.6))
    block = network.layer2[0]  # the second of three: 0.4
    block.act2 = nn.Identity()
    values = torch.rand(2000, 16, 4, 4)
    block.train()
    for norm in (block.bn1, block.bn2):
        norm.eval()  # so that images do not depend on each other
    with torch.no_grad():
        branch = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(values)))))
        added = block(values) - block.shortcut(values)
    left_out = added.flatten(1).abs().amax(1) < 1e-6
    assert left_out.float().mean().item() == pytest.approx(0.4, abs=0.04)
    torch.testing.assert_close(added[~left_out], branch[~left_out] / 0.6, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(block.eval()(values), branch + block.shortcut(values))


@pytest.mark.parametrize("network", ["lenet", "squeezenet", "densenet121"])
def test_path_is_refused_where_no_block_has_a_place(network: str) -> None:
    with pytest.raises(ConfigError, match=r"^dropout=path: the network has no residual block with a place"):
        apply_dropout(network_of(network), Dropout(name="path", p=0.1))


def test_path_is_refused_in_residual_networks_of_torchvision_without_a_place() -> None:
    with pytest.raises(ConfigError, match=r"^dropout=path: the network has no residual block with a place"):
        apply_dropout(torchvision.models.resnet18(num_classes=5), Dropout(name="path", p=0.1))
