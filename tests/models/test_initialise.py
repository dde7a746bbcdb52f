"""Initial random weights: the distribution of each scheme, what is left alone, what is drawn from the random stream."""

import math

import pytest
import torch
from torch import nn

from surgery import BANDS, CLASSES, REPRESENTATIVES, SIZE, network_of
from terrablate.config.schema import ImagenetWeights, ScratchWeights
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.initialise import initialise
from terrablate.models.networks import LocalCNN


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


def scratch(init: str, std: float | None = None) -> ScratchWeights:
    return ScratchWeights(name="scratch", source="scratch", init=init, std=std)


def fans(weight: torch.Tensor) -> tuple[int, int]:
    """Inputs and outputs of a unit."""
    window = weight[0, 0].numel()
    return weight.shape[1] * window, weight.shape[0] * window


def learning_layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("name", REPRESENTATIVES)
@pytest.mark.parametrize(("init", "std"), [("kaiming", None), ("xavier", None), ("normal", None), ("normal", 0.3)])
def test_weights_have_the_spread_of_the_scheme_and_biases_are_zero(name: str, init: str, std: float | None) -> None:
    network = network_of(name)
    layers = learning_layers(network)
    assert initialise(network, scratch(init, std)) == len(layers) > 0
    for layer in layers:
        inputs, outputs = fans(layer.weight)
        expected = {
            "kaiming": math.sqrt(2 / inputs),
            "xavier": math.sqrt(2 / (inputs + outputs)),
            "normal": std if std is not None else 0.01,
        }[init]
        tolerance = 5 / math.sqrt(2 * layer.weight.numel())
        assert layer.weight.std().item() == pytest.approx(expected, rel=tolerance)
        assert abs(layer.weight.mean().item()) < 5 * expected / math.sqrt(layer.weight.numel())
        if layer.bias is not None:
            assert (layer.bias == 0).all()


def test_xavier_is_uniform_and_kaiming_is_normal() -> None:
    network = nn.Sequential(nn.Linear(200, 300))
    weight = network[0].weight
    initialise(network, scratch("xavier"))
    bound = math.sqrt(6 / 500)
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert (weight.abs() < bound / 2).float().mean().item() == pytest.approx(0.5, abs=0.01)
    initialise(network, scratch("kaiming"))
    std = math.sqrt(2 / 200)
    assert (weight.abs() < std).float().mean().item() == pytest.approx(0.683, abs=0.01)
    assert weight.abs().max() > 3.5 * std


@pytest.mark.parametrize("init", ["kaiming", "xavier", "normal"])
def test_normalisation_embeddings_and_tokens_stay(init: str) -> None:
    network = network_of("test_vit")
    drawn = {id(parameter) for layer in learning_layers(network) for parameter in layer.parameters()}
    before = {name: value.clone() for name, value in network.named_parameters() if id(value) not in drawn}
    initialise(network, scratch(init))
    assert {"pos_embed", "cls_token", "norm.weight"} & before.keys()
    after = dict(network.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_each_position_of_a_locally_connected_layer_is_drawn_like_a_dense_layer() -> None:
    network = LocalCNN(3, 5, 16, [8], 3, 1, 8)
    assert initialise(network, scratch("xavier")) == 3
    local = network.features.local1
    assert local.weight.std().item() == pytest.approx(math.sqrt(2 / (27 + 8)), rel=0.02)
    assert (local.bias == 0).all()
    assert not torch.equal(local.weight[0], local.weight[1])
    assert local.weight.requires_grad
    assert local.weight.is_leaf


@pytest.mark.parametrize("weights", [scratch("native"), ImagenetWeights(name="imagenet", source="imagenet")])
def test_native_and_pretrained_draw_nothing_from_the_stream(weights: ScratchWeights | ImagenetWeights) -> None:
    network = network_of("resnet10t")
    before = [value.clone() for value in network.state_dict().values()]
    state = torch.get_rng_state()
    assert initialise(network, weights) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, before, network.state_dict().values()))


def test_weights_follow_the_seed_and_the_scheme_of_a_run(compose) -> None:
    def first_weight(*overrides: str) -> torch.Tensor:
        config = compose("model=small_cnn", f"data.image_size={SIZE}", *overrides)
        built = build(config, BANDS, CLASSES, SIZE)
        assert built.surgery["init"] == (0 if "weights.init=native" in overrides else 5)
        return built.network.features.block1.conv.weight

    kaiming = first_weight("weights.init=kaiming")
    assert torch.equal(kaiming, first_weight("weights.init=kaiming"))
    others = ["weights.init=kaiming seed=1", "weights.init=native", "weights.init=xavier", "weights.init=normal"]
    for other in others:
        assert not torch.equal(kaiming, first_weight(*other.split()))


def test_it_is_refused_where_there_is_nothing_to_draw() -> None:
    with pytest.raises(ConfigError, match=r"^weights\.init=kaiming: the network has neither dense nor convolutional"):
        initialise(nn.Sequential(nn.Flatten()), scratch("kaiming"))
