"""Weights fill a network by name; what does not fit is refused, and what became of them is told."""

import logging
from collections.abc import Callable

import pytest
import torch

from small_resnets import BANDS, built, load, resnet
from terrablate.config import Config
from terrablate.errors import WeightsError
from terrablate.models.build import Built, build
from terrablate.models.weights import file_bands


@pytest.mark.parametrize("classes", [4, 10])
def test_a_head_that_is_not_asked_for_stays_as_initialised(classes: int) -> None:
    target = built(classes=classes)
    head = target.network.get_submodule("fc").weight.detach().clone()
    report = load(target, resnet(3, classes=10).state_dict(), keeps_head=False)
    assert torch.equal(target.network.get_submodule("fc").weight, head)
    assert report.left_out == ["fc.weight", "fc.bias"]
    assert report.initialised == ["fc.bias", "fc.weight"]


def test_a_head_of_another_number_of_classes_cannot_be_kept() -> None:
    with pytest.raises(WeightsError, match=r"fc\.weight 10x512 instead of 4x512"):
        load(built(classes=4), resnet(3, classes=10).state_dict(), keeps_head=True)


def test_a_head_that_is_asked_for_is_taken() -> None:
    source, target = resnet(3), built()
    load(target, source.state_dict())
    assert torch.equal(target.network.get_submodule("fc").weight, source.get_submodule("fc").weight)


def test_wrong_shapes_are_told_in_one_sentence() -> None:
    state = resnet(3).state_dict()
    state["layer2.0.conv1.weight"] = torch.zeros(5, 64, 3, 3)
    target = built()
    before = {name: value.clone() for name, value in target.network.state_dict().items()}
    wrong = "^weights: w.pth does not fit the network: layer2.0.conv1.weight 5x64x3x3 instead of 128x64x3x3"
    with pytest.raises(WeightsError, match=f"{wrong}$"):
        load(target, state, partial=True)
    with pytest.raises(WeightsError, match=f"{wrong}; they were trained on images of 224 pixels a side$"):
        load(target, state, trained_size=224)
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
    left = {name for name in before if name.startswith("layer4") and not name.endswith("num_batches_tracked")}
    assert report.initialised == sorted(left)
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


# --- the bands of a file


@pytest.mark.parametrize(
    ("width", "bands", "expected"),
    [
        (3, BANDS, ["red", "green", "blue"]),
        (3, ["B08", "red", "green"], ["red", "green", "blue"]),  # as documented: three are red, green and blue
        (13, BANDS, BANDS),
        (5, BANDS, None),
    ],
)
def test_the_bands_of_a_file_follow_from_its_first_convolution(
    width: int, bands: list[str], expected: list[str] | None
) -> None:
    state = {f"module.{name}": value for name, value in reversed(resnet(width).state_dict().items())}
    assert file_bands(None, bands, state, resnet(len(bands))) == expected


def test_the_bands_of_a_file_can_be_said() -> None:
    assert file_bands(["B08", "B04"], BANDS, resnet(3).state_dict(), resnet(13)) == ["B08", "B04"]


# --- normalisation that was exchanged


def compose_built(compose: Callable[..., Config], *overrides: str, seed: int = 1) -> Built:
    given = ("model=timm", "model.timm_name=resnet10t", f"seed={seed}", *overrides)
    return build(compose(*given), 3, 10, 32)


BATCH_NORMS = 14
"""Of resnet10t: 3 in the stem, 2 in each of 4 blocks, 3 beside the blocks that change the width."""


def test_running_statistics_that_find_no_place_are_told_and_are_no_error(
    compose: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "terrablate")
    source, target = resnet(3), compose_built(compose, "norm=group", "norm.groups=8")
    report = load(target, source.state_dict())
    assert len(report.lost_statistics) == BATCH_NORMS
    assert "layer1.0.bn1" in report.lost_statistics
    assert report.lost_affine == []
    assert f"the running statistics of {BATCH_NORMS} normalisation layers are lost" in caplog.text
    assert report.plain()["lost_statistics"] == report.lost_statistics


def test_scales_and_shifts_that_find_no_place_are_told(
    compose: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    source, target = resnet(3), compose_built(compose, "norm=none")
    report = load(target, source.state_dict())
    assert len(report.lost_statistics) == len(report.lost_affine) == BATCH_NORMS
    assert f"the scales and shifts of {BATCH_NORMS} normalisation layers are lost" in caplog.text


def test_batch_normalisation_in_the_place_of_another_starts_without_statistics(
    compose: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    given = ("model=timm", "model.timm_name=test_convnext")
    source = build(compose(*given), 3, 10, 32).network
    target = build(compose(*given, "norm=batch", "seed=1"), 3, 10, 32)
    report = load(target, source.state_dict())
    begun = {name.removesuffix(".running_mean") for name in target.network.state_dict() if "running_mean" in name}
    assert report.lost_statistics == sorted(begun)
    assert f"{len(begun)} normalisation layers start without running statistics of their own" in caplog.text


def test_statistics_of_a_norm_that_the_network_does_not_have_are_told_and_those_of_other_heads_are_not(
    compose: Callable[..., Config],
) -> None:
    given = ("model=small_cnn", "model.width=4")
    source = build(compose(*given, "norm=batch"), 3, 10, 16).network
    target = build(compose(*given, "seed=1"), 3, 10, 16)
    state = source.state_dict() | {
        "projector.1.running_mean": torch.zeros(3),
        "head.dense.1.running_mean": torch.ones(3),
    }
    report = load(target, state)
    assert report.lost_statistics == [f"features.block{number}.norm" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("norm", ["norm=native", "norm=batch"])
def test_nothing_is_lost_where_the_normalisation_is_the_same(
    compose: Callable[..., Config], caplog: pytest.LogCaptureFixture, norm: str
) -> None:
    source, target = compose_built(compose, norm), compose_built(compose, norm, seed=2)
    report = load(target, source.network.state_dict())
    assert (report.lost_statistics, report.lost_affine) == ([], [])
    assert "lost" not in caplog.text


# --- a stem of another size


@pytest.mark.parametrize(
    ("stem", "partial", "accepted"),
    [
        ("map", False, False),
        ("map", True, True),
        ("random", False, True),
        ("mean", True, False),
        ("repeat", True, False),
    ],
)
def test_a_stem_of_another_kernel_stays_as_initialised_only_if_that_is_asked_for(
    compose: Callable[..., Config], stem: str, partial: bool, accepted: bool
) -> None:
    source = build(compose("model=resnet18"), 3, 10, 32).network
    target = build(compose("model=resnet18", "model.stem=small", "seed=1"), 3, 10, 32)
    before = target.network.get_submodule("conv1").weight.detach().clone()
    if not accepted:
        with pytest.raises(
            WeightsError, match=rf"^weights.stem={stem}: w.pth has a first convolution of 7x7 and .* 3x3"
        ):
            load(target, source.state_dict(), stem=stem, partial=partial)
        return
    report = load(target, source.state_dict(), stem=stem, partial=partial)
    assert torch.equal(target.network.get_submodule("conv1").weight, before)
    assert torch.equal(
        target.network.get_submodule("layer4.1.conv2").weight, source.get_submodule("layer4.1.conv2").weight
    )
    assert report.adapted == {"conv1.weight": "left as initialised (its kernel has another size)"}
    assert report.initialised == ["conv1.weight"]
