"""What stands in `conf/` is listed, complete, and says what torchgeo says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from terrablate.config import Config, parse
from terrablate.config.choices import (
    CONF,
    NONE_CHOSEN,
    Choice,
    all_choices,
    choices,
    default_choices,
    groups,
    help_text,
    keys,
    takes_several,
)
from terrablate.config.resolvers import cache_folder

TORCHGEO = [choice for choice in choices("data") if "source: torchgeo" in choice.path.read_text(encoding="utf-8")]


def test_every_group_has_a_default_that_exists() -> None:
    defaults = default_choices()
    assert set(defaults) == set(groups())
    for group, name in defaults.items():
        assert name in [NONE_CHOSEN if takes_several(group) else choice.name for choice in choices(group)]
    assert [group for group in groups() if takes_several(group)] == ["regularize"]


@pytest.mark.parametrize("choice", all_choices(), ids=lambda choice: f"{choice.group}={choice.name}")
def test_every_choice_opens_with_a_card_and_names_itself(choice: Choice) -> None:
    assert choice.path.read_text(encoding="utf-8").startswith("# ")
    assert choice.card.endswith((".", "...")) or "=" in choice.card
    content = yaml.safe_load(choice.path.read_text(encoding="utf-8"))
    if takes_several(choice.group):  # each under its own key, so that several compose
        assert list(content) == [choice.name]
    elif (choice.group, choice.name) != ("study", "none"):  # a single run belongs to no study
        assert content["name"] == choice.name


def test_help_names_every_group_choice_and_setting() -> None:
    text = help_text("python src/train.py", "Purpose.")
    for choice in all_choices():
        assert f" {choice.name} " in text
        assert choice.card in text
    for setting in ("seed", "epochs", "steps", "batch_size", "runs_dir", "packs_dir", "force", "monitor"):
        assert f"\n  {setting}:" in text
    assert "* synthetic" in text
    assert "\n  regularize: any of them, such as regularize=[a,b]; default []\n    adversarial " in text
    assert "_common" not in text


def test_keys_of_a_choice_include_the_shared_ones() -> None:
    assert {"train", "size", "image_size", "split_seed"} <= set(keys("data", "synthetic"))
    assert keys("regularize", "l2_sp") == ["head_weight", "weight"]
    with pytest.raises(FileNotFoundError):
        keys("data", "nowhere")


@pytest.mark.parametrize("choice", TORCHGEO, ids=lambda choice: choice.name)
def test_bands_that_a_config_declares_are_those_of_the_torchgeo_class(choice: Choice) -> None:
    import torchgeo.datasets

    content = yaml.safe_load(choice.path.read_text(encoding="utf-8"))
    dataset = getattr(torchgeo.datasets, content["dataset"])
    if hasattr(dataset, "all_band_names"):
        assert tuple(content["band_names"]) == dataset.all_band_names
        assert tuple(content["rgb"]) == dataset.rgb_bands
    else:  # an RGB dataset, which torchgeo reads with Pillow
        assert content["band_names"] == content["rgb"] == ["red", "green", "blue"]
        assert content["scale"] == 255
    assert set(dataset.splits) == {"train", "val", "test"}
    assert content["download"] is False
    assert content["checksum"] is True


def test_all_torchgeo_datasets_of_the_list_are_there() -> None:
    assert {choice.name for choice in TORCHGEO} == {
        "eurosat", "eurosat_spatial", "eurosat100", "ucmerced", "resisc45"
    }  # fmt: skip


def test_odd_datasets_declare_the_bands_of_their_source(compose_raw: Callable[..., DictConfig]) -> None:
    from torchgeo.datasets import BigEarthNet, So2Sat

    from terrablate.data import bigearthnet, patternnet, so2sat
    from terrablate.data.sat6_file import Sat6

    names = ("so2sat", "patternnet", "sat6", "bigearthnet")
    declared = {name: parse(compose_raw(f"data={name}"), reads_data=False).data for name in names}
    assert declared["so2sat"].band_names == list(so2sat.BANDS)
    assert declared["so2sat"].bands == list(so2sat.S2_BANDS)
    assert declared["so2sat"].rgb == [band.removeprefix("S2_") for band in So2Sat.rgb_bands]
    assert declared["patternnet"].band_names == declared["patternnet"].rgb == list(patternnet.BANDS)
    assert declared["sat6"].band_names == list(Sat6.all_bands)
    assert declared["sat6"].rgb == list(Sat6.rgb_bands)
    assert declared["sat6"].native_size == Sat6.image_size[0]
    assert declared["bigearthnet"].band_names == list(bigearthnet.BANDS)
    assert declared["bigearthnet"].bands == list(bigearthnet.S2_BANDS)
    assert declared["bigearthnet"].native_size == BigEarthNet.image_size[0]
    assert {name: data.labels for name, data in declared.items() if data.labels != "one"} == {"bigearthnet": "several"}
    assert {name: data.scale for name, data in declared.items()} == {
        "so2sat": 1, "patternnet": 255, "sat6": 255, "bigearthnet": 10000
    }  # fmt: skip


def test_the_synthetic_config_declares_the_bands_of_its_generator(compose: Callable[..., Config]) -> None:
    from terrablate.data.synthetic import BANDS, RGB

    data = compose().data
    assert data.band_names == list(BANDS)
    assert data.rgb == list(RGB)


def test_packs_and_runs_have_their_places(
    compose_raw: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hydra import compose, initialize_config_dir

    from terrablate.config.choices import PROJECT
    from terrablate.config.resolvers import register

    register()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train")
    assert config.packs_dir == str(tmp_path / "terrablate" / "packs")
    assert config.runs_dir == str(PROJECT / "runs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "terrablate"


def test_the_data_root_follows_data_dir(compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/my/data")
    assert compose("data=eurosat", "data.download=true").data.root == "/my/data"
    monkeypatch.delenv("DATA_DIR")
    assert compose("data=eurosat", "data.download=true").data.root == str(CONF.parent / "data")


def test_the_subset_follows_the_seed_and_the_split_does_not(compose: Callable[..., Config]) -> None:
    data = compose("seed=5").data
    assert (data.subset_seed, data.split_seed) == (5, 0)
