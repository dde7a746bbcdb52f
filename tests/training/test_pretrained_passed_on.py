"""What weights bring along: the standardisation of the run that they are of, its head, and running statistics."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from pretrained_runs import TINY_RUN, prepared, result_of
from small_resnets import EUROSAT
from terrablate.config import Config
from terrablate.errors import WeightsError
from terrablate.models.build import build
from terrablate.models.networks.cifar_resnet import CifarResNet
from terrablate.training.pretrained import LoadedWeights, check_frozen_statistics, prepare_weights
from terrablate.training.record import Record
from terrablate.training.run import run

type Compose = Callable[..., Config]


# --- weights=run


@pytest.fixture
def first_run(compose: Compose) -> Callable[..., Record]:
    return lambda *overrides: run(compose("model=small_cnn", "model.width=4", *TINY_RUN, *overrides))


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["dataset", "minmax", "none"])
@pytest.mark.parametrize("offset", [0, -1000])
def test_the_weights_of_a_run_bring_its_standardisation_along(
    compose: Compose, first_run: Callable[..., Record], normalize: str, offset: int
) -> None:
    first = first_run(f"data.normalize={normalize}", f"data.offset={offset}")
    given = (f"weights.run={first.folder}", f"data.offset={offset}", "data.split_seed=7", "data.bands=[B8A,B02,B03]")
    second = run(compose("model=small_cnn", "model.width=4", *TINY_RUN, "weights=run", *given))
    theirs, ours = result_of(first)["normalization"], result_of(second)["normalization"]
    assert theirs["kind"] == normalize
    assert ours["kind"] == "weights"
    for position, band in enumerate(["B8A", "B02", "B03"]):
        at = theirs["bands"].index(band)
        center = -offset if theirs["center"] is None else theirs["center"][at]
        assert ours["center"][position] == pytest.approx(center)
        assert ours["spread"][position] == pytest.approx(10000 if theirs["spread"] is None else theirs["spread"][at])


@pytest.mark.parametrize("reason", ["not recorded", "for data.scale=10000, these have 255"])
def test_a_standardisation_that_means_nothing_here_is_not_taken(
    compose: Compose, first_run: Callable[..., Record], caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    caplog.set_level(logging.INFO, "terrablate")
    first = first_run()
    scale = "data.scale=255" if "255" in reason else "data.scale=10000"
    if reason == "not recorded":  # by an older version
        path = first.folder / "result.json"
        content = json.loads(path.read_text())
        del content["normalization"]
        path.write_text(json.dumps(content))
    config = compose("model=small_cnn", "model.width=4", scale, "weights=run", f"weights.run={first.folder}")
    loaded = prepared(config).load(build(config, 13, 10, 32))
    assert isinstance(loaded, LoadedWeights)
    assert loaded.statistics is None
    assert f"its standardisation is {reason}; with data.normalize=auto the train split's is taken" in caplog.text


# --- the head


def head_of(network: torch.nn.Module) -> torch.Tensor:
    return network.get_parameter("linear.weight").detach().clone()


@pytest.mark.parametrize("head", ["new", "keep"])
def test_the_head_of_a_file_is_loaded_only_when_it_is_asked_for(compose: Compose, tmp_path: Path, head: str) -> None:
    source = CifarResNet(13, 10, 20)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    config = compose("model=resnet20", "weights=file", f"weights.path={tmp_path / 'w.pth'}", f"weights.head={head}")
    built = build(config, 13, 10, 32)
    before = head_of(built.network)
    report = prepared(config).load(built).report
    assert torch.equal(head_of(built.network), head_of(source) if head == "keep" else before)
    assert ("linear.weight" in report["left_out"]) == (head == "new")
    assert torch.equal(built.network.get_parameter("conv1.weight"), source.conv1.weight)


@pytest.mark.slow
def test_a_run_passes_its_head_on_to_the_same_classes_alone(compose: Compose) -> None:
    source = run(compose(*TINY_RUN, "model=resnet20"))
    theirs = torch.load(source.last_checkpoint, weights_only=True)["state_dict"]["network.linear.weight"]
    classes = result_of(source)["classes"]
    for given, kept in ((classes, True), (classes[::-1], False)):
        config = compose(*TINY_RUN, "model=resnet20", "weights=run", f"weights.run={source.folder}")
        built = build(config, 13, 10, 32)
        found = prepare_weights(config, EUROSAT, given, 32)
        assert found is not None
        found.load(built)
        assert torch.equal(head_of(built.network), theirs) == kept


# --- frozen statistics


def test_statistics_that_did_not_come_with_the_weights_cannot_be_frozen(compose: Compose, tmp_path: Path) -> None:
    torch.save(timm.create_model("convnext_atto", in_chans=13).state_dict(), tmp_path / "w.pth")
    given = ["model=timm", "model.timm_name=convnext_atto", "weights=file", f"weights.path={tmp_path / 'w.pth'}"]
    config = compose(*given, "norm=batch", "norm.frozen=true")
    loaded = prepared(config).load(build(config, 13, 10, 32))
    with pytest.raises(WeightsError, match=r"^norm.frozen=true: the weights have no running statistics for \d+ layers"):
        check_frozen_statistics(config.norm, loaded)
    check_frozen_statistics(compose(*given, "norm=batch").norm, loaded)


def test_statistics_that_came_with_the_weights_can_be_frozen(compose: Compose, tmp_path: Path) -> None:
    torch.save(CifarResNet(13, 10, 20).state_dict(), tmp_path / "w.pth")
    config = compose("model=resnet20", "weights=file", f"weights.path={tmp_path / 'w.pth'}", "norm.frozen=true")
    check_frozen_statistics(config.norm, prepared(config).load(build(config, 13, 10, 32)))
