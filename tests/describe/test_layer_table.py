"""The figures of the layer table are those of the textbooks, of torch's own counters, and of what autograd keeps."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from terrablate.config import Config
from terrablate.describe.layers import Layer, Totals, describe
from terrablate.describe.trace import keep
from terrablate.errors import ConfigError
from terrablate.models.build import build

type Compose = Callable[..., Config]

ANY = ["small_cnn", "resnet18", "resnext50", "squeezenet1_0", "densenet121", "efficientnet_b0", "vit_tiny", "swin_tiny",
       "convnext_tiny", "lambda_resnet26t", "local_cnn", "alexnet_torchvision"]  # fmt: skip


def on_meta(config: Config, channels: int, classes: int, size: int) -> nn.Module:
    with torch.device("meta"):
        return build(config, channels, classes, size).network


def table(network: nn.Module, *shape: int, batch_size: int = 2) -> tuple[dict[str, Layer], Totals]:
    channels, height, width = shape
    layers, totals = describe(network.to("meta"), (channels, height, width), batch_size)
    return {layer.name: layer for layer in layers}, totals


# --- textbook figures


def test_vgg16_has_the_figures_of_the_textbooks(compose: Compose) -> None:
    network = on_meta(compose("model=vgg16", "data.image_size=224"), 3, 1000, 224)
    layers, totals = table(network, 3, 224, 224, batch_size=1)
    assert totals.parameters == totals.trainable_parameters == 138_357_544
    assert totals.weight_bytes == 4 * 138_357_544
    assert round(totals.macs / 1e9, 1) == 15.5
    dense = [layer for layer in layers.values() if layer.kind == "Linear"]
    assert dense[0].parameters == 102_760_448 + 4096
    assert [layer.output for layer in layers.values() if layer.kind == "MaxPool2d"][-1] == (512, 7, 7)


def test_the_kept_memory_of_vgg16_is_its_outputs_and_the_indices_of_its_poolings(compose: Compose) -> None:
    network = on_meta(compose("model=vgg16", "data.image_size=224"), 3, 1000, 224)
    layers, totals = table(network, 3, 224, 224, batch_size=1)
    image = 3 * 224 * 224
    convolutions = sum(
        channels * side**2 * count
        for channels, side, count in ((64, 224, 2), (128, 112, 2), (256, 56, 3), (512, 28, 3), (512, 14, 3))
    )
    poolings = 64 * 112**2 + 128 * 56**2 + 256 * 28**2 + 512 * 14**2 + 512 * 7**2
    dense = 2 * 4096
    quoted_rows = image + convolutions + poolings + dense + 1000
    assert round(quoted_rows / 1e6, 1) == 15.2  # and not 24

    copied = 512 * 7**2  # the adaptive pooling that torchvision puts before the dense layers
    assert totals.output_bytes == 4 * (quoted_rows + copied + dense)  # dropout gives tensors of its own
    masks = dense
    assert totals.kept_bytes == 4 * (quoted_rows - 1000 + copied + dense + masks) + 8 * poolings
    assert round(totals.kept_bytes / 1e6, 1) == 73.4
    assert sum(layer.kept_bytes for layer in layers.values()) == totals.kept_bytes


def test_resnet50_has_a_quarter_of_the_macs_of_vgg16(compose: Compose) -> None:
    _, totals = table(on_meta(compose("model=resnet50"), 3, 1000, 224), 3, 224, 224)
    assert round(totals.parameters / 1e6, 1) == 25.6
    assert round(totals.macs / 1e9, 1) == 4.1


def test_the_first_convolution_of_alexnet(compose: Compose) -> None:
    alone = table(nn.Sequential(nn.Conv2d(3, 96, 11, stride=4)), 3, 227, 227)[0]["0"]
    network = on_meta(compose("model=alexnet", "data.image_size=227"), 3, 1000, 227)
    first = next(layer for layer in table(network, 3, 227, 227)[0].values() if layer.kind == "Conv2d")
    for layer in (alone, first):
        assert (layer.parameters, layer.output) == (34_944, (96, 55, 55))
        assert layer.macs == 105_415_200
        assert layer.dense_parameters == (3 * 227 * 227 + 1) * 290_400
        assert layer.local_parameters == (3 * 11 * 11 + 1) * 290_400 == 105_705_600


def test_a_dense_layer_on_28_by_28_by_4() -> None:
    layers, totals = table(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28 * 4, 128)), 4, 28, 28)
    assert layers["1"].parameters == totals.parameters == 401_536
    assert layers["1"].macs == 401_408
    assert layers["1"].dense_parameters is None


# --- sums and counters


@pytest.mark.parametrize("model", ANY)
def test_rows_add_up_to_what_torch_counts(compose: Compose, model: str) -> None:
    network = on_meta(compose(f"model={model}", "data.image_size=64"), 13, 10, 64)
    layers, totals = describe(network, (13, 64, 64), 2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(1, 13, 64, 64, device="meta"))
    assert sum(layer.macs for layer in layers) == totals.macs == counter.get_total_flops() / 2
    assert sum(layer.parameters for layer in layers) == totals.parameters
    assert totals.parameters == sum(value.numel() for value in network.parameters())
    assert sum(layer.kept_bytes for layer in layers) == pytest.approx(totals.kept_bytes)
    assert all(layer.output for layer in layers)


def test_macs_of_each_convolution_follow_the_formula(compose: Compose) -> None:
    network = on_meta(compose("model=resnext50"), 13, 10, 64)
    layers, _ = table(network, 13, 64, 64)
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert max(module.groups for module in convolutions.values()) == 32
    for name, module in convolutions.items():
        channels, height, width = layers[name].output
        window = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        assert layers[name].macs == channels * height * width * window


def test_a_grouped_convolution_sees_its_group_only() -> None:
    layers, _ = table(nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, groups=4)), 8, 10, 10)
    assert layers["0"].macs == 16 * 100 * 2 * 9
    assert layers["0"].local_parameters == (2 * 9 + 1) * 1600
    assert layers["0"].dense_parameters == (800 + 1) * 1600


def test_attention_counts_its_products_of_positions(compose: Compose) -> None:
    layers, _ = table(on_meta(compose("model=vit_tiny", "data.image_size=224"), 3, 10, 224), 3, 224, 224)
    assert layers["blocks.0.attn"].macs == 2 * 197 * 197 * 192
    assert layers["blocks.0.attn"].parameters == 0
    assert layers["blocks.0.attn.qkv"].macs == 197 * 192 * 576


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.idle = nn.Linear(5, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(images)) @ torch.ones(8, 2, device=images.device)


def test_a_shared_layer_has_a_row_a_call_and_its_parameters_once() -> None:
    layers, totals = describe(Twice().to("meta"), (4, 8, 8), 2)
    named = [layer for layer in layers if layer.name == "layer"]
    assert [layer.parameters for layer in named] == [148, 0]
    assert [layer.macs for layer in named] == [4 * 64 * 36] * 2
    assert [layer.receptive_field for layer in named] == [3, 5]
    own = next(layer for layer in layers if layer.name == "(network)")
    assert own.macs == 4 * 8 * 8 * 2  # a product outside of layers
    idle = next(layer for layer in layers if layer.name == "idle")
    assert (idle.output, idle.parameters, idle.macs) == ((), 36, 0)
    assert totals.parameters == 148 + 36


def test_a_locally_connected_layer_costs_what_is_said_beside_a_convolution(compose: Compose) -> None:
    config = compose("model=local_cnn", "data.image_size=64")
    network = on_meta(config, 13, 10, 64)
    layers, _ = describe(network, (13, 64, 64), 2)
    learnt = next(layer for layer in layers if layer.parameters)
    convolution = nn.Sequential(nn.Conv2d(13, config.model.channels[0], config.model.kernel, config.model.stride))
    beside = table(convolution, 13, 64, 64)[0]["0"]
    assert learnt.output == beside.output
    assert learnt.parameters == beside.local_parameters
    assert learnt.macs == beside.macs
    assert learnt.receptive_field == beside.receptive_field == 5


# --- surgery and fine-tuning


def test_surgery_shows_in_the_rows(compose: Compose) -> None:
    native = describe(on_meta(compose("model=resnet18"), 13, 10, 64), (13, 64, 64), 2)[0]
    grouped = describe(on_meta(compose("model=resnet18", "norm=group"), 13, 10, 64), (13, 64, 64), 2)[0]
    assert {layer.kind for layer in grouped} - {layer.kind for layer in native} == {"GroupNorm"}
    added = describe(on_meta(compose("model=lenet", "norm=batch", "dropout=head"), 13, 10, 64), (13, 64, 64), 2)[0]
    kinds = [layer.kind for layer in added]
    assert kinds[:3] == ["Conv2d", "BatchNorm2d", "Sigmoid"]
    assert kinds[kinds.index("Linear") - 1] == "Dropout"  # it acts before the dense layer that it belongs to
    first, norm = added[:2]
    assert (first.parameters, norm.parameters) == (13 * 25 * 6 + 6, 12)
    assert first.output_bytes == norm.output_bytes == 4 * 6 * 60 * 60


def test_training_memory_is_weights_gradients_kept_tensors_and_state() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5))
    _, totals = table(network, 3, 8, 8, batch_size=16)
    parameters = 4 * sum(value.numel() for value in network.parameters())
    buffers = 4 * 16 + 8  # mean, variance, and how many batches there were
    values = 3 * 64 + 8 * 36 + 8 * 36  # image, input of the normalisation, input of the dense layer
    kept = 4 * (16 * values + 2 * 8)  # and a batch's mean and deviation
    assert totals.weight_bytes == parameters + buffers
    assert totals.kept_bytes == kept / 16
    assert totals.training_bytes == {
        "sgd": buffers + 2 * parameters + kept,
        "sgd_momentum": buffers + 3 * parameters + kept,
        "adam": buffers + 4 * parameters + kept,
    }


def test_frozen_parameters_take_neither_gradients_nor_state() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))
    network[0].requires_grad_(False)
    _, totals = table(network, 3, 8, 8, batch_size=4)
    head = 4 * (8 * 36 * 5 + 5)
    assert totals.trainable_parameters * 4 == head
    assert totals.kept_bytes == 4 * 8 * 36  # the input of the head alone
    assert totals.training_bytes["adam"] == totals.weight_bytes + 4 * totals.kept_bytes + 3 * head


def test_a_batch_that_cannot_be_trained_on_is_refused() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)).to("meta")
    with pytest.raises(ConfigError, match=r"^batch_size=1: the network cannot train on such a batch: Expected more"):
        describe(network, (3, 8, 8), 1)


# --- what autograd keeps


@pytest.mark.parametrize(
    ("layers", "values"),
    [
        ([nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)], 3 + 4),
        ([nn.Conv2d(3, 4, 1), nn.ReLU()], 3 + 4),  # nobody reads the convolution's output again
        ([nn.Conv2d(3, 4, 1), nn.GELU()], 3 + 4),  # its input ...
        ([nn.Conv2d(3, 4, 1), nn.GELU(), nn.Conv2d(4, 4, 1)], 3 + 4 + 4),  # ... and the next layer's
        ([nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)], 3 + 4),
        ([nn.Conv2d(3, 4, 1), nn.Dropout(0.5)], 3 + 4),  # the mask
        ([nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)], 3 + 4 + 2),  # a quarter of the places, in indices of 8 bytes
    ],
)
def test_what_autograd_keeps_of_a_pixel(layers: list[nn.Module], values: int) -> None:
    network = nn.Sequential(*layers)
    for device in ("cpu", "meta"):
        calls = keep(network.to(device), torch.zeros(5, 3, 6, 6, device=device))
        assert sum(call.kept_bytes for call in calls) == 4 * 5 * 36 * values


@pytest.mark.parametrize("model", ["small_cnn", "resnet18", "squeezenet1_0", "vit_tiny", "efficientnet_b0"])
def test_the_meta_device_keeps_what_a_real_pass_keeps(compose: Compose, model: str) -> None:
    config = compose(f"model={model}", "data.image_size=64")
    real = keep(build(config, 3, 10, 64).network, torch.randn(3, 3, 64, 64))
    meta = keep(on_meta(config, 3, 10, 64), torch.empty(3, 3, 64, 64, device="meta"))
    assert {call.name: call.kept_bytes for call in meta} == {call.name: call.kept_bytes for call in real}
    assert sum(call.kept_bytes for call in real) > 0


def test_attention_is_kept_without_its_matrix_of_pairs() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(16, 48)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            query, key, value = self.qkv(tokens).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            return functional.scaled_dot_product_attention(query, key, value)

    pairs = 4 * 2 * 2 * 100 * 100
    for device in ("cpu", "meta"):
        network = Attention().to(device)
        calls = keep(network, torch.zeros(2, 100, 16, device=device))
        assert 0 < sum(call.kept_bytes for call in calls) < pairs


def test_describing_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    network[1].train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    keep(network, torch.randn(4, 3, 8, 8))
    assert [module.training for module in network] == [False, True, False]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
