"""Channels last in memory: where the layout stands, and that nothing but rounding follows from it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.pruning import cut_channels

Compose = Callable[..., Config]
NETWORKS = ["model=small_cnn", "model=lenet", "model=resnet18", "model=timm model.timm_name=test_convnext"]


def built(compose: Compose, words: str, *more: str, channels_last: bool = True) -> nn.Module:
    config = compose(*words.split(), *more, f"trainer.channels_last={str(channels_last).lower()}")
    return build(config, 13, 10, 32).network.eval()


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


def seen_by_convolutions(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in convolutions(network)]
    network(images)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("words", NETWORKS)
def test_every_convolution_sees_channels_last_and_answers_are_the_same_within_rounding(
    compose: Compose, words: str
) -> None:
    images = torch.randn(4, 13, 32, 32)
    plain, network = built(compose, words, channels_last=False), built(compose, words)
    assert list(plain.state_dict()) == list(network.state_dict())
    assert not is_channels_last(seen_by_convolutions(plain, images)[0])
    seen = seen_by_convolutions(network, images)
    assert is_channels_last(seen[0])
    spacious = [each for each in seen if each.shape[1] > 1 and each.shape[-1] > 1]
    assert all(is_channels_last(each) for each in spacious)
    assert all(is_channels_last(layer.weight) for layer in convolutions(network))
    torch.testing.assert_close(network(images), plain(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("surgery", ["norm=group", "norm=batch", "dropout=spatial", "norm=none"])
def test_surgery_keeps_the_layout(compose: Compose, surgery: str) -> None:
    network = built(compose, "model=small_cnn", surgery)
    assert all(is_channels_last(each) for each in seen_by_convolutions(network, torch.randn(2, 13, 32, 32)))


def test_copies_and_loaded_weights_keep_the_layout(compose: Compose) -> None:
    network = built(compose, "model=small_cnn")
    other = built(compose, "model=small_cnn", "seed=1", channels_last=False)
    copied = copy.deepcopy(network)
    copied.load_state_dict(other.state_dict())
    assert all(is_channels_last(layer.weight) for layer in convolutions(copied))
    images = torch.randn(2, 13, 32, 32)
    assert is_channels_last(seen_by_convolutions(copied, images)[0])
    torch.testing.assert_close(copied(images), other(images), rtol=1e-4, atol=1e-5)


def test_channels_leave_a_network_of_either_layout_alike(compose: Compose) -> None:
    images = torch.randn(2, 13, 32, 32)
    answers = []
    for channels_last in (False, True):
        network = built(compose, "model=small_cnn", "model.width=8", channels_last=channels_last)
        names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
        cut_channels(network, [(names[0], "out", [1, 4]), *followers(network, names)])
        answers.append(network(images))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


def followers(network: nn.Module, names: list[str]) -> list[Any]:
    """The input side of the next convolution, and norms between."""
    norms = [name for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)][:1]
    return [*((name, "out", [1, 4]) for name in norms), (names[1], "in", [1, 4])]


@pytest.mark.parametrize("model", ["mlp", "local_cnn"])
def test_a_network_without_convolutions_has_nothing_to_lay_out(compose: Compose, model: str) -> None:
    with pytest.raises(ConfigError, match=f"changes nothing, since model={model} has no convolution"):
        built(compose, f"model={model}")
