"""Stages of every network: each parameter and each module in one of them, from the images to the head."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.config.choices import choices
from terrablate.models.build import build
from terrablate.models.heads import classifiers
from terrablate.models.stages import Stage, stages

type Compose = Callable[..., Config]

SIZES = {"inception_v3": 299, "alexnet": 224, "alexnet_torchvision": 224, "vit_tiny": 224, "swin_tiny": 224}
NAMES = {
    "model=resnet18": ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"],
    "model=resnet20": ["conv1", "layer1", "layer2", "layer3", "linear"],
    "model=small_cnn": [*(f"features.block{number}" for number in range(1, 5)), "head"],
    "model=lenet": ["features.conv1", "features.conv2", "head.dense1", "head.dense2"],
    "model=lenet model.pooling=stride": ["features.conv1", "features.conv2", "head.dense1", "head.dense2"],
    "model=mlp": ["head.dense1", "head.dense2", "head.dense3"],
    "model=squeezenet1_0": [*(f"features.{number}" for number in (0, 3, 4, 5, 7, 8, 9, 10, 12)), "classifier"],
    "model=vgg16": [
        *(f"features.{number}" for number in (0, 5, 10, 17, 24)), "classifier.0", "classifier.3", "classifier.6",
    ],
    "model=timm model.timm_name=vgg11": [
        *(f"features.{number}" for number in (0, 3, 6, 8, 11, 13, 16, 18)), "pre_logits.fc1", "pre_logits.fc2", "head",
    ],
    "model=timm model.timm_name=convnext_atto": ["stem", *(f"stages.{number}" for number in range(4)), "head.fc"],
    "model=timm model.timm_name=test_vit": ["patch_embed", *(f"blocks.{number}" for number in range(6)), "head"],
    "model=timm model.timm_name=rdnet_tiny": [
        "stem", *(f"dense_stages.{number}" for number in range(7)), "head.fc",
    ],
    "model=torchvision model.torchvision_name=vit_b_16 data.image_size=224": [
        "conv_proj", *(f"encoder.layers.encoder_layer_{number}" for number in range(12)), "heads",
    ],
    "model=torchvision model.torchvision_name=mnasnet0_5": [
        *(f"layers.{number}" for number in (0, 3, 6, 8, 9, 10, 11, 12, 13, 14)), "classifier",
    ],
}  # fmt: skip


def network_of(compose: Compose, *overrides: str, device: str = "meta") -> nn.Module:
    size = () if any(word.startswith("data.image_size") for word in overrides) else ("data.image_size=64",)
    config = compose(*overrides, *size)
    assert config.data.image_size is not None
    with torch.device(device):
        return build(config, 3, 5, config.data.image_size).network


def stage_of(found: list[Stage]) -> dict[str, str]:
    return {name: stage.name for stage in found for name in (*stage.parameters, *stage.modules)}


@pytest.mark.parametrize("name", [choice.name for choice in choices("model")])
def test_every_parameter_and_module_of_every_network_is_in_one_stage_and_the_head_alone_is_last(
    compose: Compose, name: str
) -> None:
    network = network_of(compose, f"model={name}", f"data.image_size={SIZES.get(name, 64)}")
    found = stages(network)
    named = [parameter for stage in found for parameter in stage.parameters]
    assert sorted(named) == sorted(parameter for parameter, _ in network.named_parameters())
    modules = [module for stage in found for module in stage.modules]
    assert sorted(modules) == sorted(module for module, _ in network.named_modules())
    assert all(stage.parameters for stage in found)
    assert len({stage.name for stage in found}) == len(found) >= 3
    of_the_head = {id(parameter) for layer in classifiers(network) for parameter in layer.parameters()}
    assert {id(network.get_parameter(parameter)) for parameter in found[-1].parameters} == of_the_head


@pytest.mark.parametrize(("overrides", "expected"), NAMES.items())
def test_stages_are_what_the_authors_call_so(compose: Compose, overrides: str, expected: list[str]) -> None:
    assert [stage.name for stage in stages(network_of(compose, *overrides.split(" ")))] == expected


@pytest.mark.parametrize(
    "overrides",
    [
        "model=resnet18", "model=resnet20", "model=small_cnn", "model=lenet", "model=squeezenet1_0", "model=vgg11",
        "model=mobilenet_v3_small", "model=timm model.timm_name=convnext_atto", "model=timm model.timm_name=test_vit",
        "model=torchvision model.torchvision_name=convnext_tiny", "model=local_cnn",
    ],
)  # fmt: skip
def test_stages_stand_in_the_order_of_the_forward_pass(compose: Compose, overrides: str) -> None:
    network = network_of(compose, *overrides.split(" "), device="cpu").eval()
    order = {module: index for index, stage in enumerate(stages(network)) for module in stage.modules}
    seen: list[int] = []
    for name, layer in network.named_modules():
        if any(True for _ in layer.parameters(recurse=False)) and name:  # the root runs from end to end
            layer.register_forward_pre_hook(lambda _, __, stage=order[name]: seen.append(stage))
    network(torch.zeros(1, 3, 64, 64))
    assert seen == sorted(seen)
    assert set(seen) == set(order.values())


@pytest.mark.parametrize("model", ["squeezenet1_0", "small_cnn", "vgg11", "alexnet_torchvision"])
def test_a_normalisation_that_was_added_is_in_the_stage_of_its_layer(compose: Compose, model: str) -> None:
    size = SIZES.get(model, 64)
    plain = stage_of(stages(network_of(compose, f"model={model}", f"data.image_size={size}")))
    found = stage_of(stages(network_of(compose, f"model={model}", "norm=batch", f"data.image_size={size}")))
    assert {name: found[name] for name in plain} == plain
    added = [name for name in found if name.endswith("norm.weight")]
    assert added
    for name in added:
        layer = name.removesuffix("norm.weight").rstrip(".")
        assert found[name] == found.get(f"{layer}.weight", found[layer])


def test_dropout_is_in_the_stage_of_the_layer_that_it_stands_before(compose: Compose) -> None:
    squeezenet = stage_of(stages(network_of(compose, "model=squeezenet1_0")))
    assert squeezenet["classifier.0"] == "classifier"
    vgg = stage_of(stages(network_of(compose, "model=vgg16")))
    assert (vgg["classifier.2"], vgg["classifier.5"]) == ("classifier.3", "classifier.6")
    vit = stage_of(stages(network_of(compose, "model=timm", "model.timm_name=test_vit")))
    assert (vit["head_drop"], vit["blocks.2.drop_path2"]) == ("head", "blocks.2")
    assert stage_of(stages(network_of(compose, "model=lenet", "dropout=head")))["head.dense2.dropout"] == "head.dense2"


def test_a_module_over_several_stages_is_in_the_last_of_them(compose: Compose) -> None:
    found = stage_of(stages(network_of(compose, "model=small_cnn")))
    assert (found["features"], found[""]) == ("features.block4", "head")


def test_parameters_outside_of_layers_are_in_the_first_stage(compose: Compose) -> None:
    ours = stages(network_of(compose, *"model=torchvision model.torchvision_name=vit_b_16 data.image_size=224".split()))
    assert {"class_token", "encoder.pos_embedding"} < set(ours[0].parameters)
    theirs = stages(network_of(compose, "model=timm", "model.timm_name=test_vit"))
    assert {"cls_token", "pos_embed"} < set(theirs[0].parameters)


def test_a_network_that_is_nothing_but_a_head_has_one_stage() -> None:
    (only,) = stages(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    assert (only.name, only.parameters) == ("1", ("1.weight", "1.bias"))
