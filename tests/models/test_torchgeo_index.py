"""The index that is read off torchgeo's sources, against torchgeo's own registry."""

from collections.abc import Callable

import pytest
import torchgeo.models

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.models.torchgeo_index import weight_names


def test_names_are_those_of_torchgeos_registry() -> None:
    theirs = {
        f"{enum.__name__}.{member}"
        for enum in {torchgeo.models.get_model_weights(name) for name in _models_with_weights()}
        for member in enum.__members__
    }
    assert weight_names() == theirs
    assert len(theirs) > 100


def _models_with_weights() -> list[str]:
    found = []
    for name in torchgeo.models.list_models():
        try:
            torchgeo.models.get_model_weights(name)
        except KeyError:
            continue
        found.append(name)
    return found


def test_every_name_leads_to_a_member_of_an_enum_of_torchgeo() -> None:
    for weight in weight_names():
        kind, _, member = weight.partition(".")
        found = getattr(torchgeo.models, kind)[member]
        assert found.url
        if str(found) == weight:  # and not another name of the same
            assert torchgeo.models.get_weight(weight) is found


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("ResNet18_Weights.SENTINEL2_ALL_MOC0", "ResNet18_Weights.SENTINEL2_ALL_MOCO"),
        ("resnet18_weights.sentinel2_all_moco", "did you mean "),
        ("SENTINEL2_ALL_MOCO", "SENTINEL2_ALL_MOCO"),
        ("qqqq", "such as ResNet18_Weights.SENTINEL2_ALL_MOCO"),
    ],
)
def test_other_names_are_refused_with_a_near_one(compose: Callable[..., Config], given: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("weights=torchgeo", f"weights.weight={given}")
    assert str(caught.value).startswith(f"weights.weight={given}: torchgeo has no weights of this name")
    assert near in str(caught.value)


def test_networks_of_our_own_have_no_weights_in_torchgeo(compose: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"^weights=torchgeo: .* not of model=small_cnn; use the network that"):
        compose("model=small_cnn", "weights=torchgeo", "weights.weight=ResNet18_Weights.SENTINEL2_ALL_MOCO")
