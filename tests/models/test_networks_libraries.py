"""Networks of timm and torchvision: textbook figures, any bands, their arguments, their classifiers."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import TimmModel, TorchvisionModel
from terrablate.errors import ConfigError
from terrablate.models.heads import classifiers
from terrablate.models.native import native_network, timm_network

type Compose = Callable[..., Config]


def torchvision_model(name: str, **kwargs: object) -> TorchvisionModel:
    return TorchvisionModel(name="torchvision", builder="torchvision", torchvision_name=name, kwargs=kwargs)


@pytest.mark.parametrize(
    ("model", "size", "parameters"),
    [
        ("alexnet_torchvision", 224, 61_100_840),
        ("vgg11", 224, 132_863_336),
        ("vgg16", 224, 138_357_544),
        ("squeezenet1_0", 224, 1_248_424),
        ("resnet18", 224, 11_689_512),
        ("resnet34", 224, 21_797_672),
        ("resnet50", 224, 25_557_032),
        ("resnet101", 224, 44_549_160),
        ("resnet152", 224, 60_192_808),
        ("wide_resnet50", 224, 68_883_240),
        ("resnext50", 224, 25_028_904),
        ("densenet121", 224, 7_978_856),
        ("inception_v3", 299, 23_834_568),
        ("efficientnet_b0", 224, 5_288_548),
        ("mobilenet_v3_small", 224, 2_542_856),
        ("convnext_tiny", 224, 28_589_128),
        ("vit_tiny", 224, 5_717_416),
        ("swin_tiny", 224, 28_288_354),
    ],
)
def test_a_network_has_the_published_number_of_parameters(
    compose: Compose, model: str, size: int, parameters: int
) -> None:
    with torch.device("meta"):
        network = native_network(compose(f"model={model}", f"data.image_size={size}").model, 3, 1000, size)
        assert network.eval()(torch.zeros(1, 3, size, size)).shape == (1, 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


# --- timm


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"colour": 3}, "unexpected keyword argument 'colour'"),
        ({"act_layer": "bent"}, ""),
    ],
)
def test_arguments_that_timm_refuses_are_told_in_one_sentence(kwargs: dict[str, object], reason: str) -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="test_efficientnet", kwargs=kwargs)
    key, value = next(iter(kwargs.items()))
    with pytest.raises(ConfigError) as caught:
        native_network(model, 3, 10, 32)
    assert str(caught.value).startswith(f"model.timm_name=test_efficientnet with {key}={value}: timm refuses it: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kwargs_reach_the_network() -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="test_vit", kwargs={"drop_path_rate": 0.4, "depth": 2})
    network = timm_network(model, in_chans=4, num_classes=10, image_size=48)
    assert len(network.get_submodule("blocks")) == 2
    assert network.get_submodule("blocks.1.drop_path1").drop_prob == pytest.approx(0.4)


def test_a_network_of_a_fixed_size_is_built_for_the_images() -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="test_vit")
    network = timm_network(model, in_chans=4, num_classes=10, image_size=48)
    assert network(torch.zeros(2, 4, 48, 48)).shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_byobnet", "test_convnext", "mobilenetv3_small_050"])
def test_the_classifier_of_a_timm_network_is_found(name: str) -> None:
    model = TimmModel(name="timm", builder="timm", timm_name=name)
    [classifier] = classifiers(timm_network(model, in_chans=3, num_classes=7, image_size=64))
    assert isinstance(classifier, nn.Linear)
    assert classifier.out_features == 7


def test_both_classifiers_of_a_distilled_network_are_found() -> None:
    model = TimmModel(name="timm", builder="timm", timm_name="deit_tiny_distilled_patch16_224", kwargs={"depth": 1})
    found = classifiers(timm_network(model, in_chans=3, num_classes=7, image_size=32))
    assert [layer.out_features for layer in found] == [7, 7]


# --- torchvision


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_a_network_of_torchvision_is_torchvisions_own_on_three_bands(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=7)
    torch.manual_seed(0)
    ours = native_network(torchvision_model(name), 3, 7, 64)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("bands", [1, 4, 13])
@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11_bn", "googlenet", "inception_v3", "vit_b_32", "swin_t", "maxvit_t", "regnet_y_400mf"]
)
def test_a_network_of_torchvision_takes_any_number_of_bands(name: str, bands: int) -> None:
    with torch.device("meta"):
        network = native_network(torchvision_model(name), bands, 7, 224).train()
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        assert first.in_channels == first.weight.shape[1] == bands
        logits = network(torch.zeros(2, bands, 224, 224))
    assert logits.shape == (2, 7)  # in train mode too, where torchvision's own inception and googlenet give tuples
    assert nn.Conv2d(5, 6, 1).in_channels == 5  # convolutions are what they were before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", lambda out, inputs: (2 / (out * 49)) ** 0.5),  # kaiming_normal_, fan out
        ("densenet121", lambda out, inputs: (2 / (inputs * 49)) ** 0.5),  # kaiming_normal_, fan in
        ("convnext_tiny", lambda out, inputs: 0.02),
    ],
)
def test_the_first_convolution_for_other_bands_is_drawn_by_the_networks_own_scheme(
    name: str, expected: Callable[[int, int], float]
) -> None:
    network = native_network(torchvision_model(name), 13, 7, 64)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert first.weight.std().item() == pytest.approx(expected(first.out_channels, 13), rel=0.03)


def test_networks_with_auxiliary_heads_are_built_without_them_and_without_warnings() -> None:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        for name in ("googlenet", "inception_v3"):
            assert not any("aux" in key for key in native_network(torchvision_model(name), 3, 7, 96).state_dict())


def test_kwargs_reach_the_network_of_torchvision() -> None:
    network = native_network(torchvision_model("squeezenet1_1", dropout=0.3), 3, 7, 64)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.3]
    with pytest.raises(ConfigError) as caught:
        native_network(torchvision_model("squeezenet1_1", colour=3), 3, 7, 64)
    expected = "model.torchvision_name=squeezenet1_1 with colour=3: torchvision refuses it: "
    assert str(caught.value).startswith(expected)
    assert "unexpected keyword argument 'colour'" in str(caught.value)


@pytest.mark.parametrize("name", ["squeezenet1_0", "alexnet", "densenet121", "swin_t", "vit_b_32", "convnext_tiny"])
def test_the_classifier_of_a_torchvision_network_is_found(name: str) -> None:
    with torch.device("meta"):
        [classifier] = classifiers(native_network(torchvision_model(name), 3, 7, 64))
    assert classifier.weight.shape[0] == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "model.torchvision_name=resnet81",
            "model.torchvision_name=resnet81: torchvision has no classification network of this name; did you mean res",
        ),
        (
            "model.torchvision_name=fcn_resnet50",  # segmentation
            "model.torchvision_name=fcn_resnet50: torchvision has no classification network of this name; did you mea",
        ),
        ("+model.kwargs.weights=DEFAULT", "model.kwargs: weights is set by data and weights; leave it out"),
        ("+model.kwargs.num_classes=3", "model.kwargs: num_classes is set by data and weights; leave it out"),
        ("+model.kwargs.aux_logits=true", "model.kwargs.aux_logits=true: a network here has one output; leave it out"),
    ],
)
def test_what_torchvision_does_not_have_is_refused_before_it_is_imported(
    compose: Compose, given: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("model=torchvision", given)
    assert str(caught.value).startswith(message)
