"""The first convolution of weights for other bands: by band name, as a mean, repeated, or left alone."""

import pytest
import torch
from torch import nn

from small_resnets import BANDS, EUROSAT, built, features, load, resnet
from terrablate.errors import WeightsError
from terrablate.models.band_names import RGB, canonical, canonical_of_torchgeo
from terrablate.models.stem_bands import map_bands, mean_bands, repeat_bands, stem_name

STEM = "conv1.0.weight"


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
    with pytest.raises(WeightsError, match="first convolution of 5 bands, which does not fit the 13 bands B1, "):
        load(built(13), resnet(5).state_dict(), bands=BANDS, weight_bands=BANDS)


def test_weights_that_share_no_band_with_the_data_are_told() -> None:
    with pytest.raises(WeightsError, match=r"trained on the bands VV, VH, of which the data have none .*weights.bands"):
        load(built(3), resnet(2).state_dict(), weight_bands=["VV", "VH"])


def test_weights_in_sentinel2_order_give_the_same_features_in_eurosats_order() -> None:
    order = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8a", "B9", "B10", "B11", "B12"]  # B8A after B8
    source, target = resnet(13), built(13)
    theirs = canonical_of_torchgeo("ResNet18_Weights.SENTINEL2_ALL_MOCO", order, EUROSAT)
    load(target, source.state_dict(), bands=BANDS, weight_bands=theirs)
    images = torch.rand(2, 13, 32, 32)
    in_eurosats_order = images[:, [order.index(name.replace("B0", "B").replace("8A", "8a")) for name in EUROSAT]]
    torch.testing.assert_close(features(target.network, in_eurosats_order), features(source, images))
    assert not torch.allclose(features(target.network, images), features(source, images))


# --- the formulas


def filters(bands: int) -> torch.Tensor:
    return torch.rand(8, bands, 3, 3, generator=torch.Generator().manual_seed(bands))


def test_mean_gives_every_band_the_same_filters_scaled_by_the_ratio_of_the_counts() -> None:
    value = filters(3)
    fitted = mean_bands(value, 13)
    assert fitted.shape == (8, 13, 3, 3)
    for band in range(13):
        torch.testing.assert_close(fitted[:, band], (value[:, 0] + value[:, 1] + value[:, 2]) / 3 * 3 / 13)


def test_repeat_gives_the_bands_the_filters_in_turn_scaled_by_the_ratio_of_the_counts() -> None:
    value = filters(3)
    fitted = repeat_bands(value, 5)
    for band, theirs in enumerate([0, 1, 2, 0, 1]):
        torch.testing.assert_close(fitted[:, band], value[:, theirs] * 3 / 5)
    torch.testing.assert_close(repeat_bands(filters(13), 3), filters(13)[:, :3] * 13 / 3)


def test_repeat_is_what_timm_does() -> None:
    from timm.models import adapt_input_conv

    torch.testing.assert_close(repeat_bands(filters(3), 13), adapt_input_conv(13, filters(3)))


@pytest.mark.parametrize(("old", "new"), [(3, 13), (3, 6), (3, 2), (13, 3), (13, 5)])
def test_mean_keeps_the_activation_of_bands_that_are_alike(old: int, new: int) -> None:
    image = torch.rand(1, 1, 9, 9)
    expected = nn.functional.conv2d(image.expand(1, old, 9, 9), filters(old))
    found = nn.functional.conv2d(image.expand(1, new, 9, 9), mean_bands(filters(old), new))
    torch.testing.assert_close(found, expected)


def test_repeat_keeps_the_activation_of_bands_that_are_alike_where_it_repeats_whole_turns() -> None:
    image = torch.rand(1, 1, 9, 9)
    expected = nn.functional.conv2d(image.expand(1, 3, 9, 9), filters(3))
    found = nn.functional.conv2d(image.expand(1, 12, 9, 9), repeat_bands(filters(3), 12))
    torch.testing.assert_close(found, expected)


def test_map_leaves_the_order_of_neither_side_to_chance() -> None:
    value = filters(3)
    fitted = map_bands(value, ["B8", "blue", "red"], ["red", "green", "blue"])
    assert torch.equal(fitted[:, 0], torch.zeros(8, 3, 3))
    assert torch.equal(fitted[:, 1], value[:, 2])
    assert torch.equal(fitted[:, 2], value[:, 0])


# --- as weights are loaded


def test_mean_and_repeat_stand_in_the_network_and_in_the_report() -> None:
    source = resnet(3).state_dict()
    for stem, fitted, how in (
        ("mean", mean_bands(source[STEM], 13), "the mean of 3 bands for each of 13"),
        ("repeat", repeat_bands(source[STEM], 13), "3 bands repeated to 13"),
    ):
        target = built(13)
        report = load(target, source, bands=BANDS, stem=stem)
        assert torch.equal(target.network.state_dict()[STEM], fitted)
        assert report.adapted == {STEM: how}
        assert STEM not in report.initialised


def test_random_leaves_the_stem_as_initialised_and_loads_the_rest() -> None:
    source, target = resnet(3), built(13)
    before = target.network.state_dict()[STEM].clone()
    report = load(target, source.state_dict(), bands=BANDS, stem="random")
    after = target.network.state_dict()
    assert torch.equal(after[STEM], before)
    assert torch.equal(after["layer4.0.conv1.weight"], source.state_dict()["layer4.0.conv1.weight"])
    assert report.adapted == {STEM: "left as initialised (weights.stem=random)"}
    assert report.initialised == [STEM]


@pytest.mark.parametrize("stem", ["mean", "repeat", "random"])
def test_a_choice_other_than_map_acts_also_where_the_bands_are_the_same(stem: str) -> None:
    source, target = resnet(3).state_dict(), built(3)
    before = target.network.state_dict()[STEM].clone()
    load(target, source, stem=stem)
    expected = {"mean": mean_bands(source[STEM], 3), "repeat": source[STEM], "random": before}[stem]
    assert torch.equal(target.network.state_dict()[STEM], expected)


@pytest.mark.parametrize("stem", ["mean", "repeat", "random"])
def test_a_choice_other_than_map_needs_no_names_of_bands(stem: str) -> None:
    load(built(13), resnet(5).state_dict(), bands=BANDS, weight_bands=None, stem=stem)
    load(built(3), resnet(2).state_dict(), weight_bands=["VV", "VH"], stem=stem)


def test_a_stem_choice_that_cannot_act_is_refused() -> None:
    state = {name: value for name, value in resnet(3).state_dict().items() if name != STEM}
    with pytest.raises(WeightsError, match=r"^weights.stem=mean: w.pth and the network share no first convolution"):
        load(built(3), state, stem="mean", partial=True)


def test_the_stem_is_the_convolution_that_sees_the_bands() -> None:
    assert stem_name(resnet(3)) == STEM
    assert stem_name(nn.Linear(3, 3)) is None


# --- names of bands


@pytest.mark.parametrize(
    ("bands", "rgb", "expected"),
    [
        (["B02", "B03", "B04", "B08"], ["B04", "B03", "B02"], ["blue", "green", "red", "B8"]),
        (["B1", "b8a", "B10", "B8A"], None, ["B1", "B8A", "B10", "B8A"]),
        (["red", "green", "blue"], ["red", "green", "blue"], ["red", "green", "blue"]),
        (["R", "G", "B", "N"], None, ["red", "green", "blue", "NIR"]),
        (["R", "G", "B", "NIR"], None, ["red", "green", "blue", "NIR"]),
        (["SR_B1", "SR_B07"], None, ["B1", "B7"]),
        (["VV", "vh"], None, ["VV", "VH"]),
        (["B6_VCID_1"], None, ["B6_VCID_1"]),
        (["B08"], ["B04", "B03", "B02"], ["B8"]),
    ],
)
def test_bands_have_one_name_whatever_the_sensor_or_the_publisher_says(
    bands: list[str], rgb: list[str] | None, expected: list[str]
) -> None:
    assert canonical(bands, rgb) == expected


@pytest.mark.parametrize(
    ("weight", "bands", "expected"),
    [
        ("ResNet18_Weights.SENTINEL2_RGB_MOCO", ["B4", "B3", "B2"], ["red", "green", "blue"]),
        ("ResNet18_Weights.LANDSAT_TM_TOA_MOCO", ["B1", "B2", "B3", "B4"], ["blue", "green", "red", "B4"]),
        ("ResNet18_Weights.LANDSAT_ETM_SR_MOCO", ["SR_B1", "SR_B7"], ["blue", "B7"]),
        ("ResNet18_Weights.LANDSAT_OLI_SR_MOCO", ["SR_B1", "SR_B2", "SR_B4"], ["B1", "blue", "red"]),
        ("Swin_V2_B_Weights.NAIP_RGB_MI_SATLAS", ("R", "G", "B"), ["red", "green", "blue"]),
        ("ResNet50_Weights.SENTINEL1_GRD_MOCO", ["VV", "VH"], ["VV", "VH"]),
    ],
)
def test_the_sensor_of_weights_says_which_of_their_bands_are_red_green_and_blue(
    weight: str, bands: list[str], expected: list[str]
) -> None:
    assert canonical_of_torchgeo(weight, bands, None) == expected
    assert canonical_of_torchgeo(weight, bands, ["red", "green", "blue"]) == expected


def test_numbers_of_landsats_bands_are_not_taken_for_those_of_sentinel2() -> None:
    bands = ["B1", "B2", "B3", "B4", "B5", "B6", "B7"]  # B5 is short-wave infrared on TM, red edge on Sentinel-2
    found = canonical_of_torchgeo("ResNet18_Weights.LANDSAT_TM_TOA_MOCO", bands, EUROSAT)
    assert found[:3] == ["blue", "green", "red"]
    assert set(found) & set(BANDS) == set(RGB)
