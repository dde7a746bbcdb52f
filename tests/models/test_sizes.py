"""Image sizes: what a network refuses, and the sizes that it is said to take instead."""

from collections.abc import Callable

import pytest
import torch

from terrablate.config import Config
from terrablate.config.checks.network import smallest_own_size
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.sizes import NearSizes, search, smallest_size

type Compose = Callable[..., Config]


# --- the search


@pytest.mark.parametrize("smallest", [1, 2, 31, 32, 33, 75, 299, 512])
def test_the_smallest_size_is_found_where_larger_ones_do(smallest: int) -> None:
    assert search(lambda size: size >= smallest, 0) == NearSizes(None, smallest)
    assert search(lambda size: size >= smallest, smallest - 1) == NearSizes(None, smallest)


@pytest.mark.parametrize(("refused", "below", "above"), [(65, 64, 80), (79, 64, 80), (33, 32, 48), (17, 16, 32)])
def test_sizes_on_both_sides_are_found_where_they_must_be_multiples(refused: int, below: int, above: int) -> None:
    found = search(lambda size: size > 0 and size % 16 == 0, refused)
    assert found.below == below
    assert found.above is not None
    assert found.above % 16 == 0
    assert found.above >= above


def test_no_size_is_named_where_none_was_found() -> None:
    found = search(lambda size: False, 64)
    assert found == NearSizes(None, None)
    assert found.sentence(64) == ""


def test_few_sizes_are_tried() -> None:
    tried: list[int] = []
    search(lambda size: tried.append(size) or size >= 75, 64)
    assert len(tried) < 12


# --- networks

SMALLEST = {
    "alexnet": 67,
    "alexnet_torchvision": 63,
    "convnext_tiny": 32,
    "lenet": 16,
    "local_cnn": 13,
    "mlp": 1,
    "resnet18": 1,
    "resnet20": 1,
    "sat6_cnn": 16,
    "small_cnn": 16,
    "squeezenet1_0": 21,
    "vgg11": 32,
    "vit_tiny": 16,
}


@pytest.mark.parametrize(("model", "smallest"), SMALLEST.items())
def test_the_smallest_size_that_a_network_takes_is_found(compose: Compose, model: str, smallest: int) -> None:
    assert smallest_size(compose(f"model={model}", "data.image_size=128").model) == smallest


@pytest.mark.parametrize(
    "overrides",
    [
        "model=lenet", "model=lenet model.pooling=max", "model=lenet model.pooling=stride", "model=small_cnn",
        "model=small_cnn model.pooling=average", "model=small_cnn model.pooling=stride", "model=sat6_cnn",
        "model=alexnet", "model=local_cnn", "model=local_cnn model.channels=[4,4,4] model.kernel=3 model.stride=3",
        "model=mlp", "model=resnet20",
    ],
)  # fmt: skip
def test_the_table_that_is_read_before_torch_is_imported_is_right(compose: Compose, overrides: str) -> None:
    model = compose(*overrides.split(), "data.image_size=128").model
    assert (smallest_own_size(model) or 1) == smallest_size(model)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (
            "inception_v3",
            64,
            "model=inception_v3: needs images of at least 75 pixels a side, data gives 64; data.image_size=75 resizes",
        ),
        (
            "densenet121",
            28,
            "model=densenet121: needs images of at least 29 pixels a side, data gives 28; data.image_size=29 resizes",
        ),
        (
            "vgg11",
            16,
            "model=vgg11: needs images of at least 32 pixels a side, data gives 16; data.image_size=32 resizes",
        ),
        (
            "vit_tiny",
            65,
            "model=vit_tiny: cannot take images of 65 pixels a side, but of 64 or 80; data.image_size=80 resizes",
        ),
        (
            "swin_tiny",
            33,
            "model=swin_tiny: cannot take images of 33 pixels a side, but of 32 or 36; data.image_size=36 resizes",
        ),
        (
            "torchvision model.torchvision_name=maxvit_t",
            64,
            "model=torchvision: needs images of at least 221 pixels a side, data gives 64; data.image_size=221 resizes",
        ),
        (
            "timm model.timm_name=halonet26t",
            72,
            "model=timm: needs images of at least 241 pixels a side, data gives 72; data.image_size=241 resizes",
        ),
    ],
)
def test_a_size_that_does_not_suit_is_refused_with_sizes_that_do(
    compose: Compose, model: str, size: int, message: str
) -> None:
    config = compose(*f"model={model}".split())
    with pytest.raises(ConfigError) as caught, torch.device("meta"):
        build(config, 13, 10, size)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("alexnet", "model=alexnet: needs images of at least 67 pixels a side, data gives 64; data.image_size=67 re"),
        ("local_cnn data.image_size=12", "model=local_cnn: needs images of at least 13 pixels a side, data gives 12"),
        (
            "small_cnn data.image_size=15",
            "model=small_cnn: needs images of at least 16 pixels a side, data gives 15; data.image_size=16 resizes",
        ),
        (
            "lenet model.pooling=stride data.image_size=12",
            "model=lenet: needs images of at least 13 pixels a side, data gives 12; data.image_size=13 resizes",
        ),
    ],
)
def test_a_size_too_small_for_a_network_of_ours_is_told_at_once(compose: Compose, model: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("data.size=64", *f"model={model}".split())
    assert str(caught.value).startswith(message)
