"""The helper that spares tests most of Hydra's work composes what Hydra composes."""

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf

from helpers import composed, composed_anew
from terrablate.config import parse
from terrablate.config.choices import PROJECT


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=3", "optim.lr=0.1", "data.bands=[B02,B03]", "packs_dir='/a b'"],
        ["model=lenet", "aug=flip", "aug=all", "epochs=7", "epochs=8"],
        ["optim=sgd", "optim.momentum=0.5", "regularize=[l1,ema]", "regularize.l1.weight=0.1"],
        ["data=synthetic_multilabel", "loss=bce", "model=small_cnn", "model.width=4", "~model.width"],
        ["norm=group", "+norm.momentum=0.5", "++norm.groups=4", "hydra.job.name=mine"],
    ],
)
def test_what_is_composed_from_what_was_composed_is_what_hydra_composes(overrides: list[str]) -> None:
    first, second, anew = composed(overrides), composed(overrides), composed_anew(overrides)
    first.seed = 99  # of its own
    assert second == composed(overrides) == anew
    assert OmegaConf.is_struct(second)
    assert OmegaConf.is_struct(anew)


@pytest.mark.parametrize("overrides", ["norm=bach", "optim.lrr=1", "modle=lenet", "seed=1,2", "norm=batch,none", "x"])
def test_mistakes_are_told_as_hydra_tells_them(overrides: str) -> None:
    told = []
    for way in (composed_anew, composed):
        with pytest.raises(HydraException) as caught:
            way([overrides])
        told.append((type(caught.value), str(caught.value)))
    assert told[0] == told[1]


def test_a_value_is_none_of_another_config(monkeypatch: pytest.MonkeyPatch) -> None:
    assert composed(["model=lenet", "optim.lr=0.5"]).optim.lr == 0.5
    assert composed(["model=lenet"]).optim.lr == composed_anew([]).optim.lr
    for cache in ("/first", "/second"):  # what is read of the environment is read anew
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        assert parse(composed(["model=lenet"])).packs_dir == f"{cache}/terrablate/packs"
    with pytest.raises(ConfigCompositionException):
        composed(["model=lenet", "optim.lrr=0.5"])


def test_places_are_found_whatever_a_test_before_has_taken_away() -> None:
    words = ["model=lenet", "seed=1"]
    expected = composed(words).runs_dir
    OmegaConf.clear_resolver("project")
    assert composed(words).runs_dir == expected == str(PROJECT / "runs")
