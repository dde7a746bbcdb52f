"""Dropout surgery: nothing drops any more, or the head does, with the right scale and only while training."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from surgery import REPRESENTATIVES, assert_trains_two_steps, images, network_of, same_outputs
from terrablate.config.schema import Dropout
from terrablate.errors import ConfigError
from terrablate.models.dropout import apply_dropout
from terrablate.models.heads import classifiers
from terrablate.models.networks import MLP, AlexNet, LeNet, Sat6CNN, SmallCNN

DROPPING: list[tuple[str, dict[str, float]]] = [
    ("resnet10t", {"drop_rate": 0.3, "drop_path_rate": 0.3}),
    ("mobilenetv3_small_050", {"drop_rate": 0.3, "drop_path_rate": 0.3}),
    ("densenet121", {"drop_rate": 0.3}),
    ("convnext_atto", {"drop_rate": 0.3, "drop_path_rate": 0.3}),
    ("test_vit", {"drop_rate": 0.3, "drop_path_rate": 0.3, "attn_drop_rate": 0.3, "proj_drop_rate": 0.3}),
    ("test_vit", {"patch_drop_rate": 0.5}),
]


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


def outputs_differ(network: nn.Module) -> bool:
    """Whether two passes over the same images give different logits."""
    with torch.no_grad():
        return not torch.equal(network(images()), network(images()))


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_native_changes_nothing(name: str) -> None:
    network = network_of(name)
    before = copy.deepcopy(network)
    assert apply_dropout(network, Dropout(name="native")) == 0
    assert repr(network) == repr(before)
    assert same_outputs(network, before)


def test_native_keeps_the_networks_own_dropout() -> None:
    network = network_of("test_vit", drop_rate=0.3)
    apply_dropout(network, Dropout(name="native"))
    assert outputs_differ(network)


@pytest.mark.parametrize(("name", "kwargs"), DROPPING)
def test_none_removes_every_dropout(name: str, kwargs: dict[str, float]) -> None:
    network = network_of(name, **kwargs)
    keys = list(network.state_dict())
    assert outputs_differ(network)
    assert apply_dropout(network, Dropout(name="none")) >= len(kwargs)
    assert not outputs_differ(network)
    assert list(network.state_dict()) == keys
    assert network.eval()(images(1)).shape == (1, 5)


def test_none_switches_off_dropblock() -> None:
    from timm.layers import DropBlock2d

    network = nn.Sequential(DropBlock2d(0.5)).train()
    assert not torch.equal(network(images()), images())
    assert apply_dropout(network, Dropout(name="none")) == 1
    assert torch.equal(network(images()), images())


@pytest.mark.parametrize(
    ("builder", "options"),
    [
        ("alexnet", {}),
        ("squeezenet1_1", {}),
        ("densenet121", {"drop_rate": 0.3}),
        ("efficientnet_b0", {"stochastic_depth_prob": 0.5, "dropout": 0.0}),
        ("swin_t", {"attention_dropout": 0.3, "dropout": 0.3}),
        ("convnext_tiny", {}),
    ],
)
def test_none_removes_the_dropout_of_torchvision_networks(builder: str, options: dict[str, float]) -> None:
    torch.manual_seed(0)
    network = getattr(torchvision.models, builder)(num_classes=5, **options).train()
    chips = images()[:, :3]
    with torch.no_grad():
        assert not torch.equal(network(chips), network(chips))
        assert apply_dropout(network, Dropout(name="none")) >= 1
        assert torch.equal(network(chips), network(chips))


def test_none_leaves_a_network_without_dropout_bit_identical() -> None:
    network, changed = network_of("test_vit"), network_of("test_vit")
    assert apply_dropout(changed, Dropout(name="none")) == 0
    assert same_outputs(network, changed)


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "mobilevit_xxs", "pvt_v2_b0"])
@pytest.mark.parametrize("dropout", [Dropout(name="none"), Dropout(name="head", p=0.5)])
def test_attention_still_trains_after_the_surgery(name: str, dropout: Dropout) -> None:
    network = network_of(name)  # fused attention reads the rate off its dropout layer, in train mode only
    apply_dropout(network, dropout)
    network(images(2)).sum().backward()


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_head_drops_the_input_of_the_dense_layer_and_scales_the_rest(p: float) -> None:
    network = SmallCNN(3, 5, 64, "before").train()
    assert apply_dropout(network, Dropout(name="head", p=p)) == 1
    dense = network.head.dense
    nn.init.ones_(dense.weight)
    nn.init.zeros_(dense.bias)
    sums = dense(torch.ones(2000, 512))[:, 0]  # number of kept features times the scale
    kept = sums * (1 - p)
    torch.testing.assert_close(kept, kept.round(), atol=1e-2, rtol=0)
    assert sums.mean().item() == pytest.approx(512, rel=0.01)
    assert kept.mean().item() / 512 == pytest.approx(1 - p, abs=0.01)
    assert kept.std().item() == pytest.approx((512 * p * (1 - p)) ** 0.5, rel=0.1)


def test_head_is_the_identity_in_eval_mode() -> None:
    network = SmallCNN(3, 5, 8, "before").eval()
    chips = torch.rand(4, 3, 16, 16)
    before = network(chips)
    apply_dropout(network, Dropout(name="head", p=0.5))
    assert torch.equal(network(chips), before)
    network.train()
    assert not torch.equal(network(chips), before)


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_network_trains_two_steps_with_dropout_in_its_head(name: str) -> None:
    network = network_of(name)
    apply_dropout(network, Dropout(name="head", p=0.2))
    assert_trains_two_steps(network)


def test_the_rate_turns() -> None:
    shares = []
    for p in (0.1, 0.9):
        network = SmallCNN(3, 5, 8, "before").train()
        apply_dropout(network, Dropout(name="head", p=p))
        dropped = network.head.dense.get_submodule("dropout")(torch.ones(100, 64))
        shares.append((dropped == 0).float().mean().item())
    assert shares == pytest.approx([0.1, 0.9], abs=0.03)


def places(network: nn.Module) -> list[str]:
    """Names of the layers before which dropout stands."""
    return [name for name, layer in network.named_modules() if isinstance(getattr(layer, "dropout", None), nn.Module)]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (LeNet(3, 5, 16, 10), ["head.dense1", "head.dense2"]),
        (Sat6CNN(3, 5, 16), ["head.dense1", "head.dense2", "head.dense3"]),
        (AlexNet(3, 5, 67), ["head.dense6", "head.dense7", "head.dense8"]),
        (MLP(3, 5, 16, [8, 8], "relu"), ["head.dense2", "head.dense3"]),  # the first dense layer sees the image
        (torchvision.models.alexnet(num_classes=5), ["classifier.1", "classifier.4", "classifier.6"]),
        (torchvision.models.squeezenet1_1(num_classes=5), ["classifier.1"]),
        (torchvision.models.mobilenet_v3_small(num_classes=5), ["classifier.0", "classifier.3"]),
        (torchvision.models.resnet18(num_classes=5), ["fc"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_head_stands_before_every_dense_layer_of_the_head(network: nn.Module, expected: list[str]) -> None:
    names = list(network.state_dict())
    assert apply_dropout(network, Dropout(name="head", p=0.5)) == len(expected)
    assert places(network) == expected
    assert list(network.state_dict()) == names


@pytest.mark.parametrize(
    ("name", "kwargs", "places"),
    [
        ("resnet10t", {}, 1),
        ("test_vit", {}, 1),
        ("convnext_atto", {}, 1),
        ("deit_tiny_distilled_patch16_224", {"depth": 1}, 2),
        ("levit_128s", {}, 2),
        ("caformer_s18", {}, 2),
    ],
)
def test_head_finds_the_dense_layers_of_timm_networks(name: str, kwargs: dict[str, object], places: int) -> None:
    network = network_of(name, **kwargs)
    assert not outputs_differ(network)
    assert apply_dropout(network, Dropout(name="head", p=0.5)) == places
    assert outputs_differ(network)
    assert not outputs_differ(network.eval())


def test_head_takes_the_place_of_the_networks_own_dropout() -> None:
    network = network_of("test_vit", drop_rate=0.3, drop_path_rate=0.3)
    apply_dropout(network, Dropout(name="head", p=0.4))
    [classifier] = classifiers(network)
    active = [layer for layer in network.modules() if isinstance(layer, nn.Dropout) and layer.p > 0]
    assert active == [classifier.get_submodule("dropout")]
    classifier.get_submodule("dropout").p = 0.0
    assert not outputs_differ(network)


def test_dropout_is_refused_where_it_has_no_place() -> None:
    network = network_of("resnet10t", num_classes=0)
    with pytest.raises(ConfigError, match="no dense layer at its end"):
        apply_dropout(network, Dropout(name="head", p=0.5))


def test_head_is_refused_where_the_only_dense_layer_sees_the_image() -> None:
    with pytest.raises(ConfigError, match=r"^dropout=head: the network has no dense layer at its end"):
        apply_dropout(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), Dropout(name="head", p=0.5))
