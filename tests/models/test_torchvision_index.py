"""The index that is read off torchvision's sources, against torchvision's own registry."""

from collections.abc import Callable

import pytest
import torchvision

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.models.torchvision_index import model_names, pretrained_tags

THEIRS = torchvision.models.list_models(module=torchvision.models)


def test_names_are_those_of_torchvisions_classification_networks() -> None:
    assert model_names() == set(THEIRS)
    assert len(THEIRS) > 50


def test_tags_are_the_members_of_torchvisions_enums_and_the_first_is_the_default() -> None:
    for name in THEIRS:
        enum = torchvision.models.get_model_weights(name)
        assert sorted(pretrained_tags(name)) == sorted(member.name for member in enum), name
        if pretrained_tags(name):
            assert pretrained_tags(name)[0] == enum["DEFAULT"].name, name


def test_what_torchvision_does_not_have_has_no_tags() -> None:
    assert pretrained_tags("resnet18.a1_in1k") == []
    assert pretrained_tags("fcn_resnet50") == []


def test_a_tag_that_torchvision_does_not_have_is_refused(compose: Callable[..., Config]) -> None:
    compose("model=squeezenet1_0", "weights=imagenet", "weights.tag=IMAGENET1K_V1")
    with pytest.raises(ConfigError, match=r"^weights.tag=V1: squeezenet1_0 has the tags IMAGENET1K_V1$"):
        compose("model=squeezenet1_0", "weights=imagenet", "weights.tag=V1")
