"""Which weights a run starts from, and whole runs from published weights and from files."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from omegaconf import DictConfig

from pretrained_runs import CLASSES, TINY_RUN, prepared, result_of
from small_resnets import EUROSAT, features, resnet
from terrablate.config import Config, parse
from terrablate.config.schema import FileWeights
from terrablate.errors import ConfigError, WeightsError
from terrablate.models.build import build
from terrablate.models.weight_files import file_sha256
from terrablate.models.weight_statistics import IMAGENET
from terrablate.training.pretrained import prepare_weights
from terrablate.training.run import run

type Compose = Callable[..., Config]

MOCO = "ResNet18_Weights.SENTINEL2_ALL_MOCO"
SENTINEL2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]


def resnet18_file(folder: Path, bands: int, classes: int = 0) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", in_chans=bands, num_classes=classes).eval()
    torch.save(network.state_dict(), folder / "resnet18.pth")
    return network, folder / "resnet18.pth"


def test_scratch_prepares_nothing(compose: Compose) -> None:
    assert prepare_weights(compose("weights=scratch"), EUROSAT, CLASSES, 32) is None


# --- weights=file


def test_a_file_of_a_config_is_loaded_and_its_digest_given(compose: Compose, tmp_path: Path) -> None:
    source = resnet(3)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    config = compose("model=timm", "model.timm_name=resnet10t", "weights=file", f"weights.path={tmp_path / 'w.pth'}")
    found = prepared(config)
    assert found.digest == file_sha256(tmp_path / "w.pth")
    target = build(config, 13, 10, 32)
    loaded = found.load(target)
    assert loaded.report["adapted"] == {"conv1.0.weight": "mapped by band (blue, green, red)"}
    assert loaded.statistics is None
    stem = target.network.state_dict()["conv1.0.weight"]
    assert torch.equal(stem[:, EUROSAT.index("B04")], source.state_dict()["conv1.0.weight"][:, 0])


def test_the_bands_of_a_file_are_named_as_the_sensor_does_and_its_statistics_are_theirs(
    compose: Compose, tmp_path: Path
) -> None:
    source = resnet(2)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    given = ("weights.bands=[B8,b04]", "weights.mean=[0.3,0.1]", "weights.std=[0.2,0.05]")
    path = f"weights.path={tmp_path / 'w.pth'}"
    config = compose("model=timm", "model.timm_name=resnet10t", "weights=file", path, *given)
    target = build(config, 13, 10, 32)
    loaded = prepared(config).load(target)
    stem, theirs = target.network.state_dict()["conv1.0.weight"], source.state_dict()["conv1.0.weight"]
    assert torch.equal(stem[:, EUROSAT.index("B08")], theirs[:, 0])
    assert torch.equal(stem[:, EUROSAT.index("B04")], theirs[:, 1])
    assert loaded.statistics is not None
    assert loaded.statistics.scaled(10000) == {"B8": (0.3, 0.2), "red": (0.1, 0.05)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("weights.mean=[0.1]", "weights.mean and weights.std go together: give both, or leave both at null"),
        ("weights.std=[0.1]", "weights.mean and weights.std go together: give both, or leave both at null"),
        ("weights.mean=[0.1] weights.std=[0.1,0.2]", "weights.mean: one value a band is needed, in the order of"),
        (
            "weights.mean=[0.1] weights.std=[0.1] weights.bands=[B02,B03]",
            "weights.mean: one value a band is needed, in the order of weights.bands; weights.mean has 1, weights.std"
            " has 1, weights.bands has 2",
        ),
        (
            "weights.mean=[0.1] weights.std=[0.1] data.normalize=dataset",
            "weights.mean: has no effect with data.normalize=dataset; use data.normalize=auto",
        ),
    ],
)
def test_statistics_of_a_file_that_say_nothing_are_refused(
    compose: Compose, tmp_path: Path, given: str, message: str
) -> None:
    torch.save(resnet(3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigError) as caught:
        compose("weights=file", f"weights.path={tmp_path / 'w.pth'}", *given.split())
    assert str(caught.value).startswith(message)


def test_statistics_for_other_bands_than_those_of_the_file_are_refused(compose: Compose, tmp_path: Path) -> None:
    torch.save(resnet(3).state_dict(), tmp_path / "w.pth")
    given = (f"weights.path={tmp_path / 'w.pth'}", "weights.mean=[0.1,0.1]", "weights.std=[1,1]")
    config = compose("model=timm", "model.timm_name=resnet10t", "weights=file", *given)
    assert isinstance(config.weights, FileWeights)
    with pytest.raises(
        WeightsError, match=r"^weights.mean: has 2 values, the bands of the weights are red, green, blue"
    ):
        prepared(config).load(build(config, 13, 10, 32))


# --- weights=imagenet


def test_imagenet_weights_come_through_timm_from_a_file(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "terrablate")
    source, path = resnet18_file(tmp_path, 3, classes=1000)
    config = compose("model=resnet18", "weights=imagenet", f"weights.file={path}")
    found = prepared(config, size=64)
    target = build(config, 13, 10, 64)
    before = target.network.get_submodule("fc").weight.detach().clone()
    loaded = found.load(target)
    assert found.digest == file_sha256(path)
    assert loaded.report["origin"] == "timm's resnet18.a1_in1k"
    assert loaded.report["left_out"] == ["fc.weight", "fc.bias"]
    assert loaded.report["trained_size"] == 224
    assert loaded.statistics == IMAGENET
    offered = (
        "weights: trained on 224 pixels, the data have 64; data.image_size=224 resizes them (slower, often better)"
    )
    assert offered in caplog.messages
    assert torch.equal(target.network.get_submodule("fc").weight, before)
    images = torch.zeros(2, 13, 64, 64)
    rgb = torch.rand(2, 3, 64, 64)
    images[:, [EUROSAT.index(band) for band in ("B04", "B03", "B02")]] = rgb
    torch.testing.assert_close(features(target.network, images), features(source, rgb))


@pytest.mark.parametrize(("size", "offered"), [(224, False), (256, True)])
def test_a_resize_is_offered_where_the_size_differs(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, offered: bool
) -> None:
    caplog.set_level(logging.INFO, "terrablate")
    _, path = resnet18_file(tmp_path, 3, classes=1000)
    config = compose("model=resnet18", "weights=imagenet", f"weights.file={path}")
    prepared(config, size=size).load(build(config, 13, 10, 32))
    line = "weights: trained on 224 pixels, the data have 256; data.image_size=224 resizes them"
    assert (line in caplog.messages) == offered


@pytest.mark.parametrize(
    ("overrides", "digest"),
    [
        (["model=resnet18", "weights=imagenet", "weights.tag=tv_in1k"], "timm:resnet18.tv_in1k"),
        (["model=resnet18", "weights=imagenet"], "timm:resnet18.a1_in1k"),
        (["model=squeezenet1_0", "weights=imagenet"], "torchvision:squeezenet1_0.IMAGENET1K_V1"),
        (["model=resnet18", "weights=torchgeo", f"weights.weight={MOCO}"], f"torchgeo:{MOCO}"),
    ],
)
def test_published_weights_have_their_name_as_their_digest(compose: Compose, overrides: list[str], digest: str) -> None:
    assert prepared(compose(*overrides), size=64).digest == digest


@pytest.mark.slow
def test_a_run_starts_from_a_torchvision_file(compose: Compose, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = torchvision.models.squeezenet1_0().state_dict()
    torch.save(source, tmp_path / "squeezenet1_0.pth")
    weights = ("weights=imagenet", f"weights.file={tmp_path / 'squeezenet1_0.pth'}")
    frozen = ("optim=sgd", "optim.lr=1e-12")
    record = run(compose("model=squeezenet1_0", *weights, *TINY_RUN, *frozen, "data.bands=rgb", "data.scale=255"))
    result = result_of(record)
    assert result["weights"]["origin"] == "torchvision's squeezenet1_0.IMAGENET1K_V1"
    assert result["weights"]["adapted"] == {}
    assert result["weights"]["initialised"] == ["classifier.1.bias", "classifier.1.weight"]
    assert result["normalization"]["kind"] == "weights"  # bytes, by data.scale
    assert result["normalization"]["center"] == pytest.approx([mean * 255 for mean in IMAGENET.mean])
    state = torch.load(record.last_checkpoint, weights_only=True)["state_dict"]
    torch.testing.assert_close(state["network.features.0.weight"], source["features.0.weight"])
    torch.testing.assert_close(state["inputs.center"].flatten(), torch.tensor(IMAGENET.mean))


# --- weights=torchgeo


def test_torchgeo_weights_give_the_same_features_on_eurosats_order(compose: Compose, tmp_path: Path) -> None:
    source, path = resnet18_file(tmp_path, 13)
    config = compose("model=resnet18", "weights=torchgeo", f"weights.weight={MOCO}", f"weights.file={path}")
    target = build(config, 13, 10, 32)
    loaded = prepared(config).load(target)
    images = torch.rand(2, 13, 32, 32)  # in the order of the weights: B8A after B08
    torch.testing.assert_close(
        features(target.network, images[:, [SENTINEL2.index(band) for band in EUROSAT]]), features(source, images)
    )
    assert loaded.report["initialised"] == ["fc.bias", "fc.weight"]
    assert loaded.report["trained_size"] == 224
    assert loaded.statistics is not None
    assert loaded.statistics.scaled(10000) == dict.fromkeys(loaded.statistics.bands, (0.0, 1.0))


@pytest.mark.parametrize("name", ["so2sat", "bigearthnet"])
def test_torchgeo_weights_know_the_bands_of_every_sentinel_2_set(
    compose_raw: Callable[..., DictConfig], tmp_path: Path, name: str
) -> None:
    source, path = resnet18_file(tmp_path, 13)
    weights = ("model=resnet18", "weights=torchgeo", f"weights.weight={MOCO}", f"weights.file={path}")
    config = parse(compose_raw(f"data={name}", *weights), reads_data=False)
    assert isinstance(config.data.bands, list)
    target = build(config, len(config.data.bands), 10, 32)
    loaded = prepared(config, config.data.bands).load(target)
    taken = [SENTINEL2.index(band) for band in config.data.bands]
    assert len(taken) == {"so2sat": 10, "bigearthnet": 12}[name]
    stem, theirs = target.network.state_dict()["conv1.weight"], source.state_dict()["conv1.weight"]
    scale = (stem / theirs[:, taken]).flatten()  # the stem makes up for bands that are not there
    torch.testing.assert_close(scale, scale[:1].expand_as(scale))
    assert loaded.statistics is not None
    # reflectance is no digital number: of So2Sat the train split's statistics are taken
    assert (loaded.statistics.scaled(config.data.scale) is None) == (name == "so2sat")


def test_torchgeo_weights_of_another_network_are_refused(compose: Compose, tmp_path: Path) -> None:
    _, path = resnet18_file(tmp_path, 13)
    config = compose("model=resnet50", "weights=torchgeo", f"weights.weight={MOCO}", f"weights.file={path}")
    with pytest.raises(WeightsError, match=r"^weights: torchgeo's ResNet18_Weights.SENTINEL2_ALL_MOCO "):
        prepared(config).load(build(config, 13, 10, 32))


@pytest.mark.slow
def test_a_run_starts_from_torchgeo_weights_on_the_numbers_that_they_expect(compose: Compose, tmp_path: Path) -> None:
    _, path = resnet18_file(tmp_path, 13)
    weights = ("weights=torchgeo", f"weights.weight={MOCO}", f"weights.file={path}")
    result = result_of(run(compose("model=resnet18", *weights, *TINY_RUN)))
    assert result["status"] == "complete"
    assert result["levels"]["weights"] == "torchgeo"
    assert result["normalization"]["kind"] == "weights"
    assert result["normalization"]["center"] == [0.0] * 13
    assert result["normalization"]["spread"] == pytest.approx([10000.0] * 13)
    assert result["normalization"]["bands"] == EUROSAT
    assert result["weights"]["trained_size"] == 224


# --- real files


@pytest.mark.real_data
def test_a_real_squeezenet_knows_what_it_saw_on_three_bands_and_on_thirteen(compose: Compose, data_dir: Path) -> None:
    path = data_dir / "weights" / "squeezenet1_0_deepcompression_tv.pth"
    config = compose("model=squeezenet1_0", "weights=imagenet", f"weights.file={path}")
    target = build(config, 13, 10, 64)
    loaded = prepared(config).load(target)
    assert loaded.statistics == IMAGENET
    source = torchvision.models.squeezenet1_0()
    source.load_state_dict(torch.load(path, weights_only=True))
    images, rgb = torch.zeros(2, 13, 64, 64), torch.rand(2, 3, 64, 64)
    images[:, [EUROSAT.index(band) for band in ("B04", "B03", "B02")]] = rgb
    with torch.inference_mode():
        found = target.network.eval().get_submodule("features")(images)
        torch.testing.assert_close(found, source.eval().features(rgb), rtol=1e-4, atol=1e-4)


@pytest.mark.real_data
def test_a_real_resnet20_is_found_below_its_prefix_and_its_nest(compose: Compose, data_dir: Path) -> None:
    path = data_dir / "weights" / "resnet20-12fca82f.th"
    config = compose("model=resnet20", "weights=file", f"weights.path={path}", "data.bands=rgb")
    target = build(config, 3, 10, 32)
    loaded = prepared(config, ["B04", "B03", "B02"]).load(target)
    assert loaded.report["left_out"] == ["linear.weight", "linear.bias"]  # ten other classes
    assert loaded.report["adapted"] == {}
    theirs = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert torch.equal(target.network.state_dict()["layer3.2.conv2.weight"], theirs["module.layer3.2.conv2.weight"])
