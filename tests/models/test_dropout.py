"""Dropout surgery: nothing drops any more, or the head does, with the right scale and only while training."""

import copy

import pytest
import torch
from torch import nn

from terrablate.config.schema import Dropout, TimmModel
from terrablate.errors import ConfigError
from terrablate.models.build import timm_network
from terrablate.models.dropout import apply_dropout
from terrablate.models.networks import LeNet, SmallCNN, classifiers

DROPPING: list[tuple[str, dict[str, float]]] = [
    ("resnet10t", {"drop_rate": 0.3, "drop_path_rate": 0.3}),
    ("mobilenetv3_small_050", {"drop_rate": 0.3, "drop_path_rate": 0.3}),
    ("densenet121", {"drop_rate": 0.3}),
    ("convnext_atto", {"drop_rate": 0.3, "drop_path_rate": 0.3}),
    ("test_vit", {"drop_rate": 0.3, "drop_path_rate": 0.3, "attn_drop_rate": 0.3, "proj_drop_rate": 0.3}),
    ("test_vit", {"patch_drop_rate": 0.5}),
]


def network_of(name: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    model = TimmModel(name="timm", builder="timm", timm_name=name, kwargs=kwargs)
    return timm_network(model, in_chans=3, num_classes=5, image_size=64).train()


def outputs_differ(network: nn.Module) -> bool:
    """Whether two passes in train mode over the same images give different logits."""
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return not torch.equal(network(images), network(images))


def test_native_changes_nothing() -> None:
    network = network_of("test_vit", drop_rate=0.3)
    before = copy.deepcopy(network)
    assert apply_dropout(network, Dropout(name="native")) == 0
    assert repr(network) == repr(before)
    assert outputs_differ(network)


@pytest.mark.parametrize(("name", "kwargs"), DROPPING)
def test_none_removes_every_dropout(name: str, kwargs: dict[str, float]) -> None:
    network = network_of(name, **kwargs)
    keys = list(network.state_dict())
    assert outputs_differ(network)
    assert apply_dropout(network, Dropout(name="none")) >= len(kwargs)
    assert not outputs_differ(network)
    assert list(network.state_dict()) == keys
    assert network.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_none_switches_off_dropblock() -> None:
    from timm.layers import DropBlock2d

    network = nn.Sequential(DropBlock2d(0.5)).train()
    images = torch.rand(2, 3, 16, 16)
    assert not torch.equal(network(images), images)
    assert apply_dropout(network, Dropout(name="none")) == 1
    assert torch.equal(network(images), images)


def test_none_leaves_a_network_without_dropout_bit_identical() -> None:
    network, changed = network_of("test_vit"), network_of("test_vit")
    assert apply_dropout(changed, Dropout(name="none")) == 0
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(network(images), changed(images))


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "mobilevit_xxs", "pvt_v2_b0"])
@pytest.mark.parametrize("dropout", [Dropout(name="none"), Dropout(name="head", p=0.5)])
def test_attention_still_trains_after_the_surgery(name: str, dropout: Dropout) -> None:
    network = network_of(name)  # fused attention reads the rate off its dropout layer, in train mode only
    apply_dropout(network, dropout)
    network(torch.rand(2, 3, 64, 64)).sum().backward()


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
    images = torch.rand(4, 3, 16, 16)
    before = network(images)
    apply_dropout(network, Dropout(name="head", p=0.5))
    assert torch.equal(network(images), before)
    network.train()
    assert not torch.equal(network(images), before)


def test_the_rate_turns() -> None:
    shares = []
    for p in (0.1, 0.9):
        network = SmallCNN(3, 5, 8, "before").train()
        apply_dropout(network, Dropout(name="head", p=p))
        dropped = network.head.dense.get_submodule("dropout")(torch.ones(100, 64))
        shares.append((dropped == 0).float().mean().item())
    assert shares == pytest.approx([0.1, 0.9], abs=0.03)


def test_head_stands_before_both_dense_layers_of_lenet() -> None:
    network = LeNet(3, 5, 16, 10)
    names = list(network.state_dict())
    assert apply_dropout(network, Dropout(name="head", p=0.5)) == 2
    assert isinstance(network.head.dense1.get_submodule("dropout"), nn.Dropout)
    assert isinstance(network.head.dense2.get_submodule("dropout"), nn.Dropout)
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
