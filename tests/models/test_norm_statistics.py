"""Running statistics: which layers have them, how they are frozen, how several processes share them."""

import pytest
import torch
from torch import nn

from surgery import images, network_of, norm_of, same_outputs, train_step
from terrablate.config.identity import Hardware
from terrablate.errors import ConfigError
from terrablate.models.norm import LastDimBatchNorm, apply_norm, norm_layers, statistics_layers, synchronise
from terrablate.training.hardware import check_sync


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "dpn48b"])
def test_all_batch_norms_have_statistics(name: str) -> None:
    network = network_of(name)
    assert statistics_layers(network) == [layer for _, layer in norm_layers(network)] != []


@pytest.mark.parametrize("kind", ["group", "layer", "instance", "none"])
def test_other_kinds_have_none(kind: str) -> None:
    network = network_of("resnet10t")
    apply_norm(network, norm_of(kind))
    assert statistics_layers(network) == []


def test_out_of_train_mode_statistics_stay_while_scale_and_shift_learn() -> None:
    network = network_of("test_efficientnet")
    train_step(network)
    before = {key: value.clone() for key, value in network.named_buffers()}
    layers = statistics_layers(network)
    for layer in layers:
        layer.training = False
    network.zero_grad()
    network(images()).square().sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in network.named_buffers())
    assert all(layer.weight.grad.abs().sum() > 0 and layer.bias.grad.abs().sum() > 0 for layer in layers)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("test_vit", {"frozen": True}, r"^norm\.frozen=true: the network has no running statistics to freeze"),
        ("lenet", {"frozen": True}, r"^norm\.frozen=true: the network has no running statistics"),
        ("test_vit", {"sync": True}, r"^norm\.sync=true: the network has no batch normalisation to synchronise"),
    ],
)
def test_what_needs_batch_norm_is_refused_where_there_is_none(
    name: str, changes: dict[str, bool], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_norm(network_of(name), norm_of("native", **changes))
    apply_norm(network_of(name), norm_of("batch", **changes))  # which puts some there


# --- synchronisation; that processes really share needs several GPUs, torch refuses the CPU


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet10t", "native"),
        ("test_efficientnet", "native"),  # fused with activations
        ("test_efficientnet_gn", "batch"),  # with activations that surgery appended
        ("test_vit", "batch"),  # over tokens
        ("lenet", "batch"),  # after convolutions
    ],
)
def test_synchronised_layers_do_the_same_in_a_single_process(name: str, kind: str) -> None:
    network, changed = network_of(name), network_of(name)
    apply_norm(network, norm_of(kind))
    apply_norm(changed, norm_of(kind))
    train_step(changed), train_step(network)  # so that statistics are worth carrying over
    layers = list(norm_layers(changed))
    assert synchronise(changed) == len(layers) > 0
    after = dict(norm_layers(changed))
    assert list(after) == [name for name, _ in layers]
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in after.values())
    assert list(changed.state_dict()) == list(network.state_dict())
    assert same_outputs(network, changed)
    assert synchronise(changed) == 0


def test_tokens_keep_their_layout_when_synchronised() -> None:
    network = nn.Sequential(LastDimBatchNorm(3))
    synchronise(network)
    values = network.train()(torch.randn(8, 5, 3) * torch.tensor([1.0, 10.0, 0.1]) + 4)
    assert values.shape == (8, 5, 3)
    torch.testing.assert_close(values.mean((0, 1)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std((0, 1), correction=0), torch.ones(3), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("hardware", "found"), [(Hardware("cuda", 1, "32", 1), "one GPU"), (Hardware("cpu", 2, "32", 1), "the CPU")]
)
def test_synchronisation_is_refused_on_devices_that_cannot(hardware: Hardware, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"^norm\.sync=true: needs several GPUs, and the run would use {found}"):
        check_sync(norm_of("native", sync=True), hardware)
    check_sync(norm_of("native"), hardware)
    check_sync(norm_of("native", sync=True), Hardware("cuda", 2, "32", 1))
