"""`describe.py` from the command line: its formats, its own keys, its mistakes, and the table of networks in README."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from helpers import run_command
from terrablate.config import Config, choices, parse
from terrablate.config.resolvers import register
from terrablate.describe.command import describe_network
from terrablate.describe.networks import as_markdown, describe_choice, networks_table
from terrablate.describe.settings import input_of, split
from terrablate.errors import ConfigError

type Compose = Callable[..., Config]


# --- the command


def test_help_shows_usage_and_own_keys_without_loading_anything(tmp_path: Path) -> None:
    done = run_command("describe", tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python src/describe.py [group=choice ...] [key=value ...]" in done.stdout
    for key in ("input", "classes", "format", "networks", "batch_size"):
        assert f"\n  {key}: " in done.stdout
    for choice in choices.all_choices():
        assert f" {choice.name} " in done.stdout


MISTAKES = {
    "format=yaml": "format=yaml: expected one of table, json, csv",
    "input=[3,224]": "input=[3, 224]: expected null or [bands, height, width], whole numbers of at least 1",
    "input=[3,0,0]": "input=[3, 0, 0]: expected null or [bands, height, width], whole",
    "input=[3,64,32]": "input=[3, 64, 32]: networks are built for square images; give height and width alike",
    "classes=0": "classes=0: expected a whole number of at least 1 or null",
    "networks=1": "networks=1: expected true or false",
    "networks=true classes=5": "networks=true: shows all networks at the same sizes; leave input and classes out",
    "formt=json": "formt: there is no such key (did you mean format?); allowed: ",
    "model=vgg61": "model=vgg61: there is no such choice (did you mean vgg16?); allowed: ",
    "epochs=-1": "epochs=-1: expected a whole number of at least 1",
    "model=small_cnn input=[3,15,15]": "model=small_cnn: needs images of at least 16 pixels a side, data gives 15",
    "-m model=lenet": "-m: this command takes one config at a time; call it once for each",
    "data=eurosat": "data.root=",
}


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.items())
def test_a_mistake_is_told_in_a_sentence_before_anything_heavy_is_loaded(
    tmp_path: Path, words: str, sentence: str
) -> None:
    done = run_command("describe", tmp_path, *words.split(), f"packs_dir={tmp_path / 'packs'}")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"error: {sentence}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_nothing_but_the_object_stands_on_stdout(tmp_path: Path) -> None:
    words = ("model=resnet18", "data=eurosat", "norm=group", "classes=10", "format=json", "finetune=head")
    done = run_command("describe", tmp_path, *words, without=())
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["model"], found["input"], found["classes"]) == ("resnet18", [13, 64, 64], 10)
    assert found["totals"]["trainable_parameters"] == 5130
    assert "GroupNorm" in {layer["kind"] for layer in found["layers"]}


# --- what it is told


def told(folder: Path, *words: str) -> tuple[tuple[int, int, int], int]:
    """Shape and classes of a command line."""
    register()
    with initialize_config_dir(str(choices.CONF), version_base="1.3"):
        settings, run = split(compose("describe", overrides=[*words, f"packs_dir={folder / 'packs'}"]))
    return input_of(parse(run, reads_data=False), settings)


def test_shape_and_classes_are_those_of_the_data_unless_given(tmp_path: Path) -> None:
    assert told(tmp_path) == ((13, 64, 64), 10)
    assert told(tmp_path, "data.size=32") == ((13, 32, 32), 10)
    assert told(tmp_path, "data.bands=rgb", "data.image_size=48", "classes=7") == ((3, 48, 48), 7)
    assert told(tmp_path, "data.size=32", "input=[5,96,96]") == ((5, 96, 96), 10)
    assert told(tmp_path, "data=eurosat", "data.root=/nowhere", "classes=4") == ((13, 64, 64), 4)
    assert not (tmp_path / "packs").exists()  # no data was read


def test_images_of_ones_own_tell_their_shape_by_their_pack(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("Forest", "River", "Sea"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 255, (20, 20, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{number}.png")
    assert told(tmp_path, "data=folder", f"data.root={tmp_path / 'data'}") == ((3, 20, 20), 3)


# --- formats


@pytest.fixture
def shown(compose: Compose) -> Callable[[str], str]:
    return lambda form: describe_network(compose("model=squeezenet1_0", "batch_size=8"), (13, 64, 64), 10, form)


def test_json_holds_every_row_and_the_totals(shown: Callable[[str], str]) -> None:
    found: dict[str, Any] = json.loads(shown("json"))
    assert (found["model"], found["input"], found["classes"], found["batch_size"]) == (
        "squeezenet1_0",
        [13, 64, 64],
        10,
        8,
    )
    assert found["layers"][0] == {
        "name": "features.0",
        "kind": "Conv2d",
        "output": [96, 29, 29],
        "parameters": 13 * 49 * 96 + 96,
        "output_bytes": 4 * 96 * 29 * 29,
        "kept_bytes": 4 * 13 * 64 * 64,
        "receptive_field": 7,
        "macs": 96 * 29 * 29 * 13 * 49,
        "dense_parameters": (13 * 64 * 64 + 1) * 96 * 29 * 29,
        "local_parameters": (13 * 49 + 1) * 96 * 29 * 29,
    }
    assert sum(layer["parameters"] for layer in found["layers"]) == found["totals"]["parameters"]
    assert found["layers"][-1]["receptive_field"] is None
    training = found["totals"]["training_bytes"]
    assert training["adam"] - training["sgd_momentum"] == training["sgd_momentum"] - training["sgd"]


def test_csv_has_a_row_a_layer_and_says_what_json_says(shown: Callable[[str], str]) -> None:
    rows = list(csv.DictReader(io.StringIO(shown("csv"))))
    layers = json.loads(shown("json"))["layers"]
    assert [row["name"] for row in rows] == [layer["name"] for layer in layers]
    assert rows[0] == {key: str(value) for key, value in layers[0].items()} | {"output": "96x29x29"} | {
        "output_bytes": "322944", "kept_bytes": "212992"
    }  # fmt: skip
    assert rows[-1]["receptive_field"] == rows[-1]["dense_parameters"] == ""


def test_the_table_fits_in_120_columns_and_shows_the_exact_parameters(shown: Callable[[str], str]) -> None:
    text = shown("table")
    assert max(map(len, text.splitlines())) <= 120
    assert "\x1b" not in text  # no colours where nobody sees them
    assert re.search(r"^features\.0 +Conv2d +96x29x29 +61,248 +0\.32 +0\.21 +7 ", text, re.MULTILINE)
    assert re.search(r"^squeezenet1_0 at 13x64x64, 10 classes$", text, re.MULTILINE)
    assert re.search(r"^parameters +[\d,]+$", text, re.MULTILINE)
    assert re.search(r"^training, Adam +[\d.,]+ MB at batch_size=8$", text, re.MULTILINE)


def test_long_names_of_layers_are_folded_and_no_figure_is_cut(compose: Compose) -> None:
    text = describe_network(compose("model=swin_tiny", "data.image_size=224"), (3, 224, 224), 1000, "table")
    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    assert "28,288,354" in text


# --- the table of networks


def values_of(compose_raw: Callable[..., DictConfig]) -> dict[str, Any]:
    values = OmegaConf.to_container(compose_raw(), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def named(name: str) -> choices.Choice:
    return next(choice for choice in choices.choices("model") if choice.name == name)


def test_a_network_of_the_table_has_its_figures_at_both_sizes(compose_raw: Callable[..., DictConfig]) -> None:
    values = values_of(compose_raw)
    network = describe_choice(named("vgg16"), values)
    assert (network.native_size, network.native_parameters, network.published_weights) == (
        224,
        138_357_544,
        "torchvision",
    )
    assert network.card.startswith("VGG-16 (Simonyan and Zisserman 2015): ")
    own = describe_choice(named("sat6_cnn"), values)
    assert (own.native_size, own.native_parameters, own.published_weights) == (None, None, None)
    large = describe_choice(named("alexnet"), values)
    assert (large.parameters, large.smallest_size, large.native_size) == (None, 67, 227)
    assert "| `alexnet` | needs 67 px | | 227 | 61.0 M |" in as_markdown([network, own, large])


def test_another_reason_than_the_size_is_not_taken_for_it(compose_raw: Callable[..., DictConfig]) -> None:
    values = values_of(compose_raw) | {"dropout": {"name": "head", "p": None}}
    with pytest.raises(ConfigError, match=r"^dropout\.p"):
        describe_choice(named("lenet"), values)


@pytest.mark.slow
def test_the_table_of_networks_in_the_readme_is_current(compose_raw: Callable[..., DictConfig]) -> None:
    text = (choices.PROJECT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- networks -->\n(.*)\n<!-- /networks -->", text, re.DOTALL)
    assert found is not None
    assert found[1].strip() == networks_table(values_of(compose_raw), "table")
