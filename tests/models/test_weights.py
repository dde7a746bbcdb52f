"""Pretrained weights: files read without running code, bands mapped by name, and what does not fit refused."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import FileWeights, ImagenetWeights, TimmModel
from terrablate.errors import WeightsError
from terrablate.models.build import Built, build, timm_network
from terrablate.models.weights import (
    RGB,
    LoadReport,
    State,
    canonical,
    file_bands,
    file_sha256,
    load_weights,
    published_state,
    read_state,
    stem_name,
)
from terrablate.training.pretrained import prepare_weights

S2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]
BANDS = canonical(S2, ["B04", "B03", "B02"])
RESNET10 = TimmModel(name="timm", builder="timm", timm_name="resnet10t")


def resnet(bands: int, classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return timm_network(RESNET10, in_chans=bands, num_classes=classes, image_size=32).eval()


def built(bands: int = 3, classes: int = 10, seed: int = 1) -> Built:
    network = resnet(bands, classes, seed)
    return Built(network, frozenset(network.state_dict()))


def load(into: Built, state: State, **options: Any) -> LoadReport:
    given = {"origin": "w.pth", "bands": list(RGB), "weight_bands": list(RGB), "partial": False, **options}
    return load_weights(into, state, **given)


def features(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return network.eval().forward_features(images)


class Intruder:
    """A pickle of it creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


# --- reading


@pytest.mark.parametrize("nested", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "network.", "backbone.", "_orig_mod.module."])
def test_weights_are_found_under_usual_names(tmp_path: Path, nested: str | None, prefix: str) -> None:
    source = resnet(3)
    state: Any = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(state if nested is None else {nested: state, "epoch": 3}, tmp_path / "w.pth")
    target = built()
    report = load(target, read_state(tmp_path / "w.pth"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.network.eval()(images), source(images))
    assert (report.loaded, report.left_out, report.initialised) == (len(state), [], [])


def test_a_lightning_checkpoint_is_read_for_its_network(tmp_path: Path) -> None:
    source = resnet(3)
    state = {f"network.{name}": value for name, value in source.state_dict().items()}
    state["inputs.center"] = torch.zeros(3, 1, 1)
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{"step": 4}]}, tmp_path / "w.ckpt")
    target = built()
    load(target, read_state(tmp_path / "w.ckpt"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.network.eval()(images), source(images))


def test_safetensors_are_read(tmp_path: Path) -> None:
    source = resnet(3)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    target = built()
    load(target, read_state(tmp_path / "w.safetensors"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.network.eval()(images), source(images))


@pytest.mark.parametrize("characters", [8, 64])
def test_the_right_sha256_is_accepted_and_a_wrong_one_named(tmp_path: Path, characters: int) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == digest
    assert list(read_state(path, digest[:characters])) == ["a"]
    assert list(read_state(path, digest[:characters].upper())) == ["a"]
    with pytest.raises(WeightsError, match=rf"^weights.sha256={'0' * characters}: .* has {digest[:8]}"):
        read_state(path, "0" * characters)


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_carries_code_is_refused_and_its_code_not_run(tmp_path: Path, nested: bool) -> None:
    trap = tmp_path / "trap"
    content = {"state_dict": {"a": torch.zeros(2)}, "extra": Intruder(trap)} if nested else Intruder(trap)
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="carries Python objects besides tensors, which could run code") as caught:
        read_state(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert not trap.exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert trap.exists()  # the trap was a real one


def test_a_published_file_that_carries_code_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"state_dict": Intruder(trap)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="could run code"):
        published_state(imagenet(file=str(tmp_path / "w.pth")), RESNET10, 32)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor, not a state dict of named tensors"),
        ([torch.zeros(3)], "holds a list, not a state dict of named tensors"),
        ({"epoch": 3}, "is no state dict: it holds no named tensors"),
        ({"state_dict": {}}, "is no state dict: it holds no named tensors"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_a_truncated_file_is_told_in_one_sentence(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"w{suffix}"
    state = {"a": torch.rand(1000)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(WeightsError) as caught:
        read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(WeightsError) as caught:
        read_state(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file .*w\.pth"):
        read_state(tmp_path / "w.pth")


# --- fitting


def test_a_head_of_another_number_of_classes_stays_as_initialised() -> None:
    target = built(classes=4)
    head = target.network.get_submodule("fc").weight.detach().clone()
    report = load(target, resnet(3, classes=10).state_dict())
    assert torch.equal(target.network.get_submodule("fc").weight, head)
    assert report.left_out == ["fc.weight", "fc.bias"]
    assert report.initialised == ["fc.bias", "fc.weight"]


def test_a_head_of_the_same_number_of_classes_is_taken() -> None:
    source, target = resnet(3), built()
    load(target, source.state_dict())
    assert torch.equal(target.network.get_submodule("fc").weight, source.get_submodule("fc").weight)


def test_wrong_shapes_are_told_in_one_sentence() -> None:
    state = resnet(3).state_dict()
    state["layer2.0.conv1.weight"] = torch.zeros(5, 64, 3, 3)
    target = built()
    before = {name: value.clone() for name, value in target.network.state_dict().items()}
    with pytest.raises(
        WeightsError,
        match=r"^weights: w.pth does not fit the network: layer2.0.conv1.weight 5x64x3x3 instead of 128x64x3x3$",
    ):
        load(target, state, partial=True)
    assert all(torch.equal(value, before[name]) for name, value in target.network.state_dict().items())


def test_less_than_the_backbone_is_refused_unless_partial_is_asked_for() -> None:
    state = {name: value for name, value in resnet(3).state_dict().items() if not name.startswith("layer4")}
    target = built()
    before = {name: value.clone() for name, value in target.network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"of the backbone, not layer4.* weights.partial=true accepts a part"):
        load(target, state)
    assert all(torch.equal(value, before[name]) for name, value in target.network.state_dict().items())
    report = load(target, state, partial=True)
    assert report.loaded == len(state)
    assert all(name.startswith("layer4") for name in report.initialised)
    assert len(report.initialised) == len(before) - len(state)
    assert report.plain()["initialised"] == report.initialised
    assert "left as initialised: layer4" in report.sentence()
    after = target.network.state_dict()
    assert torch.equal(after["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    assert torch.equal(after["layer4.0.conv1.weight"], before["layer4.0.conv1.weight"])


@pytest.mark.parametrize("partial", [False, True])
def test_weights_of_another_network_are_refused(partial: bool) -> None:
    with pytest.raises(WeightsError, match=r"fills 0 of the \d+ tensors of the backbone"):
        load(built(), {"encoder.block.3.weight": torch.zeros(3)}, partial=partial)


def test_weights_find_their_places_after_surgery(compose: Callable[..., Config]) -> None:
    source = build(compose("model=timm"), 3, 10, 32).network
    for overrides in (["norm=none"], ["norm=batch", "dropout=head"], ["dropout=none"]):
        target = build(compose("model=timm", "seed=1", *overrides), 3, 10, 32)
        load(target, source.state_dict())
        assert torch.equal(
            target.network.get_submodule("layer4.0.conv1").weight, source.get_submodule("layer4.0.conv1").weight
        )


# --- bands


def test_rgb_weights_give_the_same_features_on_thirteen_bands_whose_others_are_zero() -> None:
    source, target = resnet(3), built(13)
    report = load(target, source.state_dict(), bands=BANDS)
    rgb = torch.rand(2, 3, 32, 32)
    images = torch.zeros(2, 13, 32, 32)
    for channel, band in enumerate(RGB):
        images[:, BANDS.index(band)] = rgb[:, channel]
    torch.testing.assert_close(features(target.network, images), features(source, rgb))
    stem = target.network.state_dict()[stem_name(target.network)]
    others = [position for position, band in enumerate(BANDS) if band not in RGB]
    assert (stem[:, others] == 0).all()
    assert report.adapted == {stem_name(target.network): "mapped by band (blue, green, red)"}
    images[:, others] = 1.0
    torch.testing.assert_close(features(target.network, images), features(source, rgb))
    target.network.train()(images).sum().backward()
    gradient = dict(target.network.named_parameters())[stem_name(target.network)].grad
    assert (gradient[:, others].abs().amax((0, 2, 3)) > 0).all()  # they can be learnt


def test_weights_in_another_order_of_bands_give_the_same_features() -> None:
    source, target = resnet(13), built(13)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0)).tolist()
    load(target, source.state_dict(), bands=[BANDS[i] for i in order], weight_bands=BANDS)
    images = torch.rand(2, 13, 32, 32)
    torch.testing.assert_close(features(target.network, images[:, order]), features(source, images))


def test_weights_for_more_bands_give_those_that_the_data_have() -> None:
    source, target = resnet(13), built(3)
    load(target, source.state_dict(), weight_bands=BANDS)
    rgb = torch.rand(2, 3, 32, 32)
    images = torch.zeros(2, 13, 32, 32)
    images[:, [BANDS.index(band) for band in RGB]] = rgb
    torch.testing.assert_close(features(target.network, rgb), features(source, images))


def test_weights_for_the_same_bands_are_taken_as_they_are() -> None:
    source, target = resnet(13), built(13)
    report = load(target, source.state_dict(), bands=BANDS, weight_bands=BANDS)
    assert report.adapted == {}
    assert torch.equal(target.network.state_dict()["conv1.0.weight"], source.state_dict()["conv1.0.weight"])


def test_a_band_count_that_nothing_explains_is_told() -> None:
    message = r"w.pth expects 5 bands, the data have 13; say which they are with weights.bands=\[...\]"
    with pytest.raises(WeightsError, match=message):
        load(built(13), resnet(5).state_dict(), bands=BANDS, weight_bands=None)


def test_bands_that_do_not_match_the_file_are_told() -> None:
    with pytest.raises(
        WeightsError, match="first convolution 24x5x3x3, which does not fit 24x13x3x3 with the bands B01"
    ):
        load(built(13), resnet(5).state_dict(), bands=BANDS, weight_bands=BANDS)


def test_weights_that_share_no_band_with_the_data_are_told() -> None:
    with pytest.raises(WeightsError, match=r"trained on the bands VV, VH, of which the data have none .*weights.bands"):
        load(built(3), resnet(2).state_dict(), weight_bands=["VV", "VH"])


def test_canonical_calls_the_bands_of_any_sensor_red_green_and_blue() -> None:
    assert canonical(["B02", "B03", "B04", "B08"], ["B04", "B03", "B02"]) == ["blue", "green", "red", "B08"]
    assert canonical(["red", "green", "blue"], ["red", "green", "blue"]) == ["red", "green", "blue"]
    assert canonical(["VV", "VH"], None) == ["VV", "VH"]
    assert canonical(["B08"], ["B04", "B03", "B02"]) == ["B08"]


@pytest.mark.parametrize(
    ("width", "bands", "expected"),
    [
        (3, BANDS, list(RGB)),
        (3, ["B08", "red", "green"], list(RGB)),  # as documented: three are red, green and blue
        (13, BANDS, BANDS),
        (5, BANDS, None),
    ],
)
def test_the_bands_of_a_file_follow_from_its_first_convolution(
    width: int, bands: list[str], expected: list[str] | None
) -> None:
    weights = FileWeights(name="file", source="file", path="w.pth")
    state = {f"module.{name}": value for name, value in reversed(resnet(width).state_dict().items())}
    assert file_bands(weights, bands, state, resnet(len(bands))) == expected


def test_the_bands_of_a_file_can_be_said() -> None:
    weights = FileWeights(name="file", source="file", path="w.pth", bands=["B08", "B04"])
    assert file_bands(weights, BANDS, resnet(3).state_dict(), resnet(13)) == ["B08", "B04"]


# --- weights=file and weights=imagenet, as a run uses them


def imagenet(**given: Any) -> ImagenetWeights:
    return ImagenetWeights(name="imagenet", source="imagenet", **given)


def test_a_file_of_a_config_is_loaded_and_its_digest_given(compose: Callable[..., Config], tmp_path: Path) -> None:
    source = resnet(3)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    config = compose("model=timm", "weights=file", f"weights.path={tmp_path / 'w.pth'}")
    prepared = prepare_weights(config, S2, 32)
    assert prepared is not None
    assert prepared.digest == file_sha256(tmp_path / "w.pth")
    target = build(config, 13, 10, 32)
    report = prepared.load(target)
    assert report["adapted"] == {"conv1.0.weight": "mapped by band (blue, green, red)"}
    stem = target.network.state_dict()["conv1.0.weight"]
    assert torch.equal(stem[:, S2.index("B04")], source.state_dict()["conv1.0.weight"][:, 0])


def test_the_bands_of_a_config_are_the_sensors_names(compose: Callable[..., Config], tmp_path: Path) -> None:
    source = resnet(2)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    path = f"weights.path={tmp_path / 'w.pth'}"
    config = compose("model=timm", "weights=file", path, "weights.bands=[B08,B04]")
    target = build(config, 13, 10, 32)
    prepared = prepare_weights(config, S2, 32)
    assert prepared is not None
    prepared.load(target)
    stem, theirs = target.network.state_dict()["conv1.0.weight"], source.state_dict()["conv1.0.weight"]
    assert torch.equal(stem[:, S2.index("B08")], theirs[:, 0])
    assert torch.equal(stem[:, S2.index("B04")], theirs[:, 1])


def test_scratch_prepares_nothing(compose: Callable[..., Config]) -> None:
    assert prepare_weights(compose("weights=scratch"), S2, 32) is None


def test_imagenet_weights_come_through_timm_from_a_file(compose: Callable[..., Config], tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    source = timm.create_model("resnet18").eval()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    config = compose("model=resnet18", "weights=imagenet", f"weights.file={tmp_path / 'w.pth'}")
    prepared = prepare_weights(config, S2, 64)
    assert prepared is not None
    target = build(config, 13, 10, 64)
    before = target.network.get_submodule("fc").weight.detach().clone()
    report = prepared.load(target)
    assert prepared.digest == file_sha256(tmp_path / "w.pth")
    assert report["origin"] == "timm's resnet18.a1_in1k"
    assert report["left_out"] == ["fc.weight", "fc.bias"]
    assert torch.equal(target.network.get_submodule("fc").weight, before)
    images = torch.zeros(2, 13, 64, 64)
    rgb = torch.rand(2, 3, 64, 64)
    images[:, [S2.index(band) for band in ("B04", "B03", "B02")]] = rgb
    torch.testing.assert_close(features(target.network, images), features(source, rgb))


def test_an_imagenet_file_of_another_network_is_told_in_one_sentence(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    model = TimmModel(name="resnet18", builder="timm", timm_name="resnet18")
    with pytest.raises(WeightsError, match=r"^weights=imagenet: cannot get the weights of resnet18 from ") as caught:
        published_state(imagenet(file=str(tmp_path / "w.pth")), model, 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["timeout", "not found", "httpx"])
def test_a_download_that_fails_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
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
        published_state(imagenet(), model, 64)


def test_published_weights_have_timms_name_as_their_digest(compose: Callable[..., Config]) -> None:
    prepared = prepare_weights(compose("model=resnet18", "weights=imagenet", "weights.tag=tv_in1k"), S2, 64)
    assert prepared is not None
    assert prepared.digest == "timm:resnet18.tv_in1k"
