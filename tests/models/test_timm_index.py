"""The index that is read off timm's sources, against timm's own registry."""

from collections import defaultdict
from collections.abc import Callable

import pytest
import timm
from timm.models import get_pretrained_cfg

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.models.timm_index import model_names, pretrained_tags

COMPUTED = ("quickgelu", "qwen3_vit", "deepseek_vit", "_radio_v")
"""Parts of the names of networks whose entries timm computes from others; no text says their tags."""


def published() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in timm.list_pretrained():
        network, _, tag = name.partition(".")
        found[network].append(tag)
    return found


def test_names_are_those_of_timms_registry() -> None:
    assert model_names() == set(timm.list_models())


def test_tags_are_those_that_timm_publishes() -> None:
    theirs = published()
    wrong = {
        name: (pretrained_tags(name), theirs.get(name, []))
        for name in timm.list_models()
        if sorted(pretrained_tags(name)) != sorted(theirs.get(name, []))
    }
    assert {name: tags for name, tags in wrong.items() if not any(part in name for part in COMPUTED)} == {}
    assert len(wrong) < 30
    assert all(not ours for ours, _ in wrong.values())  # what we name exists


def test_the_first_tag_is_timms_default() -> None:
    for name in timm.list_models("res*") + timm.list_models("efficientnet*") + timm.list_models("vit_*"):
        if tags := pretrained_tags(name):
            config = get_pretrained_cfg(name)
            assert config is not None
            assert config.tag == tags[0], name


@pytest.mark.parametrize("name", ["test_vit4", "convnext_atto_rms", "efficientnet_b6", "no_such_network"])
def test_networks_without_published_weights_have_no_tags(name: str) -> None:
    assert pretrained_tags(name) == []


def test_resnet18_has_several_tags() -> None:
    assert pretrained_tags("resnet18")[:2] == ["a1_in1k", "a2_in1k"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("resnet81", "did you mean"),
        ("resnet18.a1_in1k", "did you mean resnet18"),
        ("tf_efficientnet_b0_ns", "did you mean tf_efficientnet_b0"),  # a name that timm calls deprecated
    ],
)
def test_other_names_are_refused_with_a_near_one(compose: Callable[..., Config], given: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("model=timm", f"model.timm_name={given}")
    assert str(caught.value).startswith(f"model.timm_name={given}: timm has no network of this name; {hint}")


def test_imagenet_weights_are_refused_where_none_are_published(compose: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="weights=imagenet: there are no published weights for model=small_cnn"):
        compose("model=small_cnn", "weights=imagenet")
    with pytest.raises(ConfigError, match=r"weights.tag=a9: resnet18 has the tags a1_in1k, a2_in1k"):
        compose("weights=imagenet", "weights.tag=a9")
