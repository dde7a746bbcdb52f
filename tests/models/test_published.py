"""Weights that timm, torchvision and torchgeo publish: from their caches or a file, with what they say of them."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchgeo.models
import torchvision

from small_resnets import EUROSAT, RESNET10
from terrablate.config.schema import ImagenetWeights, TimmModel, TorchgeoWeights, TorchvisionModel
from terrablate.errors import WeightsError
from terrablate.models.published import timm_weights, torchgeo_weights, torchvision_weights
from terrablate.models.weight_statistics import IMAGENET, WeightStatistics

MOCO = "ResNet18_Weights.SENTINEL2_ALL_MOCO"
SQUEEZENET = TorchvisionModel(name="squeezenet1_1", builder="torchvision", torchvision_name="squeezenet1_1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Path]:
    """Put something into torch's cache of downloads, under the name of a URL."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)

    def put(url: str, content: Any) -> Path:
        path = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
        torch.save(content, path)
        return path

    return put


def _no_network(*arguments: object, **options: object) -> None:
    raise URLError("[Errno -3] Temporary failure in name resolution\nsecond line")


class Intruder:
    """A pickle of it creates a folder when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def imagenet(**given: Any) -> ImagenetWeights:
    return ImagenetWeights(name="imagenet", source="imagenet", **given)


def of_torchgeo(weight: str = MOCO, **given: Any) -> TorchgeoWeights:
    return TorchgeoWeights(name="torchgeo", source="torchgeo", weight=weight, **given)


# --- timm


def test_timm_tells_the_statistics_and_the_size_of_its_weights(tmp_path: Path) -> None:
    import timm

    source = timm.create_model("resnet10t")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    found = timm_weights(imagenet(file=str(tmp_path / "w.pth")), RESNET10, 64)
    assert found.name == "timm's resnet10t.c3_in1k"
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in found.state.items())
    assert found.bands == ("red", "green", "blue")
    assert found.statistics == IMAGENET
    assert found.trained_size == 176


def test_statistics_that_are_not_imagenets_are_those_of_the_tag(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pth")
    model = TimmModel(name="timm", builder="timm", timm_name="test_vit")
    found = timm_weights(imagenet(file=str(tmp_path / "w.pth")), model, 160)
    assert found.statistics == WeightStatistics(("red", "green", "blue"), (0.5,) * 3, (0.5,) * 3, "bytes")


def test_a_published_file_that_carries_code_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"state_dict": Intruder(trap)}, tmp_path / "w.pth")
    path = str(tmp_path / "w.pth")
    for read in (
        lambda: timm_weights(imagenet(file=path), RESNET10, 32),
        lambda: torchvision_weights(imagenet(file=path), SQUEEZENET),
        lambda: torchgeo_weights(of_torchgeo(file=path), None),
    ):
        with pytest.raises(WeightsError, match="could run code"):
            read()
    assert not trap.exists()


def test_an_imagenet_file_of_another_network_is_told_in_one_sentence(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    model = TimmModel(name="resnet18", builder="timm", timm_name="resnet18")
    with pytest.raises(WeightsError, match=r"^weights=imagenet: cannot get the weights of resnet18 from ") as caught:
        timm_weights(imagenet(file=str(tmp_path / "w.pth")), model, 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["timeout", "not found", "httpx"])
def test_a_download_of_timm_that_fails_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    import httpx
    from huggingface_hub.errors import LocalEntryNotFoundError
    from timm.models import _builder

    errors = {
        "timeout": OSError("[Errno 101] Network is unreachable\nsecond line"),
        "not found": LocalEntryNotFoundError("Cannot find the file and outgoing traffic is off\nsecond line"),
        "httpx": httpx.ConnectError("[Errno -3] Temporary failure in name resolution"),
    }

    def fail(*arguments: object, **options: object) -> None:
        raise errors[kind]

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", fail)
    model = TimmModel(name="resnet18", builder="timm", timm_name="resnet18")
    with pytest.raises(WeightsError, match=r"^weights=imagenet: cannot get the weights of resnet18 from the network; "):
        timm_weights(imagenet(), model, 64)


# --- torchvision


def test_torchvisions_weights_come_from_its_cache(hub: Callable[[str, Any], Path]) -> None:
    source = torchvision.models.squeezenet1_1().state_dict()
    hub(torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url, source)
    for tag in (None, "IMAGENET1K_V1"):
        found = torchvision_weights(imagenet(tag=tag), SQUEEZENET)
        assert found.name == "torchvision's squeezenet1_1.IMAGENET1K_V1"
        assert all(torch.equal(value, source[name]) for name, value in found.state.items())
        assert (found.bands, found.trained_size) == (("red", "green", "blue"), 224)
        assert found.statistics == IMAGENET


def test_torchvisions_weights_come_from_a_file(tmp_path: Path, hub: Callable[[str, Any], Path]) -> None:
    source = torchvision.models.squeezenet1_1().state_dict()
    torch.save({"state_dict": source}, tmp_path / "w.pth")
    found = torchvision_weights(imagenet(file=str(tmp_path / "w.pth")), SQUEEZENET)
    assert set(found.state) == set(source)


def test_old_names_in_torchvisions_densenets_are_made_new(tmp_path: Path) -> None:
    source = torchvision.models.densenet121().state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value for name, value in source.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    model = TorchvisionModel(name="densenet121", builder="torchvision", torchvision_name="densenet121")
    found = torchvision_weights(imagenet(file=str(tmp_path / "w.pth")), model)
    assert set(found.state) == set(source)


def test_inceptions_weights_expect_pixels_from_minus_one_to_one(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    for kwargs, mean in (({}, (0.5,) * 3), ({"transform_input": True}, IMAGENET.mean)):
        model = TorchvisionModel(
            name="inception_v3", builder="torchvision", torchvision_name="inception_v3", kwargs=kwargs
        )
        found = torchvision_weights(imagenet(file=str(tmp_path / "w.pth")), model)
        assert found.statistics is not None
        assert found.statistics.mean == pytest.approx(mean)
        assert found.trained_size == 299
    pixels = torch.rand(1, 3, 1, 1)
    network = torchvision.models.Inception3(transform_input=True, init_weights=False)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (IMAGENET.mean, IMAGENET.std))
    torch.testing.assert_close(network._transform_input((pixels - mean) / std), (pixels - 0.5) / 0.5)


def test_a_download_of_torchvision_that_fails_is_told_in_one_sentence(hub: Callable[[str, Any], Path]) -> None:
    message = (
        r"^weights=imagenet: cannot get the weights of squeezenet1_1.IMAGENET1K_V1 from the network; weights.file="
    )
    with pytest.raises(WeightsError, match=message) as caught:
        torchvision_weights(imagenet(), SQUEEZENET)
    assert "\n" not in str(caught.value)


# --- torchgeo


def test_torchgeos_weights_come_from_its_cache_with_bands_statistics_and_size(hub: Callable[[str, Any], Path]) -> None:
    state = {"conv1.weight": torch.rand(64, 13, 7, 7)}
    hub(torchgeo.models.ResNet18_Weights.SENTINEL2_ALL_MOCO.url, state)
    found = torchgeo_weights(of_torchgeo(), EUROSAT)
    assert found.name == f"torchgeo's {MOCO}"
    assert torch.equal(found.state["conv1.weight"], state["conv1.weight"])
    assert found.bands == ("B1", "blue", "green", "red", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
    assert found.statistics == WeightStatistics(found.bands, (0.0,) * 13, (10000.0,) * 13, "numbers")
    assert found.trained_size == 224


def test_a_torchgeo_download_is_never_unpickled_as_code(tmp_path: Path, hub: Callable[[str, Any], Path]) -> None:
    trap = tmp_path / "trap"
    hub(torchgeo.models.ResNet18_Weights.SENTINEL2_ALL_MOCO.url, {"a": Intruder(trap)})
    with pytest.raises(WeightsError, match=rf"^weights=torchgeo: cannot get the weights of {MOCO}"):
        torchgeo_weights(of_torchgeo(), EUROSAT)
    assert not trap.exists()


def test_weights_of_three_bands_that_are_not_named_are_red_green_and_blue(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    found = torchgeo_weights(of_torchgeo("ResNet50_Weights.FMOW_RGB_GASSL", file=str(tmp_path / "w.pth")), None)
    assert found.bands == ("red", "green", "blue")


def test_a_download_of_torchgeo_that_fails_is_told_in_one_sentence(hub: Callable[[str, Any], Path]) -> None:
    with pytest.raises(WeightsError, match=rf"^weights=torchgeo: cannot get the weights of {MOCO} from the network; "):
        torchgeo_weights(of_torchgeo(), EUROSAT)
