"""Variants are composed as Hydra composes a single run, from files that are read once."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult

from terrablate.config import Config, parse
from terrablate.config.choices import CONF
from terrablate.config.resolvers import register
from terrablate.study.composer import composer
from terrablate.study.plan import Compose

VARIANTS = [
    "model=lenet aug=flip",
    "model=small_cnn model.width=4 aug=none",
    "data=synthetic_multilabel loss=bce regularize=[l1,ema] regularize.l1.weight=0.1",
    "model=lenet aug=flip optim=sgd optim.momentum=0.5",
    "model=resnet18 seed=3",
    "stop=early schedule=cosine steps=10",
]


@pytest.fixture
def of_study() -> Iterator[Compose]:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra_compose("train", return_hydra_config=True)
        yield composer(composed, GlobalHydra.instance().config_loader())


def test_a_variant_has_the_config_of_a_single_run_whatever_was_composed_before(
    of_study: Compose, tmp_path: Path
) -> None:
    words = [[*variant.split(), f"runs_dir={tmp_path}"] for variant in VARIANTS]
    forth = [of_study(each) for each in words]
    back = [of_study(each) for each in reversed(words)]
    assert forth == back[::-1]
    GlobalHydra.instance().clear()

    def single(overrides: list[str]) -> Config:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return parse(hydra_compose("train", overrides=overrides))

    assert forth == [single(each) for each in words]


def test_each_file_is_read_once(of_study: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = ConfigRepository.load_config

    def counted(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        read.append(config_path)
        return whole(self, config_path)

    monkeypatch.setattr(ConfigRepository, "load_config", counted)
    of_study(["aug=flip"])
    first = len(read)
    assert len(set(read)) == first > 20
    of_study(["aug=flip", "seed=1"])
    assert len(read) == first
    of_study(["aug=all"])
    assert read[first:] == ["aug/all"]


def test_a_loader_that_has_composed_goes_to_another_process(of_study: Compose) -> None:
    """Launchers pickle it."""
    of_study(["model=lenet"])
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    assert not isinstance(loader.repository, ConfigRepository)
    there = pickle.loads(pickle.dumps(loader))
    assert isinstance(there.repository, ConfigRepository)
    assert there.get_group_options("aug") == loader.get_group_options("aug")
