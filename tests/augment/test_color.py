"""Illumination, atmosphere and colour: the formulas, and each image its own draws."""

import math
from collections.abc import Callable

import pytest
import torch

from augment_inputs import BANDS, each_differs, generator, images_of, spread_of
from terrablate.augment import photometric
from terrablate.augment.color import color

NONE = dict.fromkeys(
    ["brightness", "contrast", "band_gain", "haze", "gamma", "band_offset", "saturation", "hue"], 0.0
)  # fmt: skip


@pytest.mark.parametrize("bands", BANDS)
def test_color_follows_its_formula(bands: int) -> None:
    images, spread, count = images_of(5, bands), spread_of(bands), 5
    widths = {"brightness": 0.3, "contrast": 0.4, "band_gain": 0.2, "haze": 0.1, "band_offset": 0.3, "gamma": 0.6}
    changed = color(images, generator(), spread, **widths)
    draws = generator()
    g = 1 + (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.3
    g_c = 1 + (2 * torch.rand(count, bands, 1, 1, generator=draws) - 1) * 0.2
    k = 1 + (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.4
    h = (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.1
    h_c = (2 * torch.rand(count, bands, 1, 1, generator=draws) - 1) * 0.3
    exponent = 1 + (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.6
    level = images.mean((2, 3), keepdim=True)
    curved = level * (images / level) ** exponent
    m = curved.mean((2, 3), keepdim=True)
    expected = g * g_c * (m + k * (curved - m)) + (h + h_c) * spread.view(1, -1, 1, 1)
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bands", BANDS)
def test_the_four_first_knobs_give_what_they_always_gave(bands: int) -> None:
    """Bit for bit, since finished runs are compared with new ones."""
    images, spread, count, draws = images_of(5, bands), spread_of(bands), 5, generator(4)

    def uniform(width: float, *size: int) -> torch.Tensor:
        return (2 * torch.rand(*size, 1, 1, generator=draws) - 1) * width

    gain = (1 + uniform(0.2, count, 1)) * (1 + uniform(0.05, count, bands))
    stretch, offset = uniform(0.2, count, 1), uniform(0.1, count, 1) * spread.view(-1, 1, 1)
    expected = (images + stretch * (images - images.mean((-2, -1), keepdim=True))) * gain + offset
    assert torch.equal(color(images, generator(4), spread, 0.2, 0.2, 0.05, 0.1), expected)


@pytest.mark.parametrize("bands", BANDS)
def test_color_of_zero_widths_is_the_identity(bands: int) -> None:
    images = images_of(5, bands)
    assert torch.equal(color(images, generator(), spread_of(bands), **NONE), images)


@pytest.mark.parametrize("knob", NONE)
def test_each_knob_of_color_turns_and_each_image_has_its_own_draw(knob: str) -> None:
    images = images_of(1, 3).expand(6, -1, -1, -1)
    changed = color(images, generator(), spread_of(3), **{**NONE, knob: 0.3}, rgb=(0, 1, 2))
    assert not torch.equal(changed, images)
    assert each_differs(changed)


@pytest.mark.parametrize("knob", ["brightness", "band_gain"])
def test_gains_fill_their_range_and_do_not_leave_it(knob: str) -> None:
    gains = color(torch.ones(2000, 2, 2, 2), generator(), torch.ones(2), **{**NONE, knob: 0.2})
    assert 0.8 - 1e-6 <= gains.min() < 0.81
    assert 1.19 < gains.max() <= 1.2 + 1e-6
    bands_differ = (gains[:, 0] != gains[:, 1]).any()
    assert bool(bands_differ) is (knob == "band_gain")


@pytest.mark.parametrize("knob", ["haze", "band_offset"])
def test_offsets_are_measured_by_the_deviation_of_each_band(knob: str) -> None:
    spread = torch.tensor([1.0, 0.1, 0.0])
    shift = color(torch.zeros(500, 3, 2, 2), generator(), spread, **{**NONE, knob: 0.5})
    assert (shift[:, 2] == 0).all()
    assert shift[:, 0].abs().max().item() == pytest.approx(0.5, abs=0.01)
    assert shift[:, 1].abs().max().item() == pytest.approx(0.05, abs=0.001)
    common = torch.allclose(shift[:, 1], shift[:, 0] * 0.1)
    assert common is (knob == "haze")  # the air is one, the calibration each band's own


def test_contrast_keeps_the_mean_of_each_band() -> None:
    images = images_of(20, 3)
    changed = color(images, generator(), spread_of(3), **{**NONE, "contrast": 0.9})
    torch.testing.assert_close(changed.mean((2, 3)), images.mean((2, 3)))
    assert not torch.allclose(changed.std((2, 3)), images.std((2, 3)))


def test_color_never_clips() -> None:
    images = torch.cat([torch.full((200, 1, 4, 4), 5.0), torch.zeros(200, 1, 4, 4)], 1)
    changed = color(images, generator(), torch.tensor([1.0, 1.0]), **{**NONE, "brightness": 0.5, "haze": 0.5})
    assert changed[:, 0].max() > 5
    assert changed[:, 1].min() < 0


@pytest.mark.parametrize("bands", BANDS)
def test_color_stays_within_its_documented_bound(bands: int) -> None:
    images, spread = images_of(300, bands), spread_of(bands)
    widths = {"brightness": 0.3, "contrast": 0.4, "band_gain": 0.2, "haze": 0.5, "band_offset": 0.2}
    changed = color(images, generator(), spread, **widths)
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    room = 0.4 * (high - low)
    offset = 0.7 * spread.view(-1, 1, 1)
    assert (changed <= 1.3 * 1.2 * (high + room) + offset + 1e-5).all()
    assert (changed >= 1.3 * 1.2 * (low - room).clamp_max(0) - offset - 1e-5).all()


# --- gamma


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.8])
def test_gamma_is_the_power_measured_by_the_mean_of_the_positive_part(exponent: float) -> None:
    images = images_of(4, 3)
    changed = photometric.gamma(images, torch.full((4, 1, 1, 1), exponent))
    level = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(changed, level * (images / level) ** exponent)
    highest = images.amax((2, 3), keepdim=True)
    bound = highest * (highest / level) ** max(exponent - 1, 0)
    assert (changed <= bound * (1 + 1e-5)).all()


def test_gamma_keeps_zeros_negative_values_signs_and_constants() -> None:
    images = torch.tensor([[0.0, -0.3, 0.2, 0.6], [0.0, 0.0, 0.0, 0.0], [0.7, 0.7, 0.7, 0.7]]).view(1, 3, 2, 2)
    changed = photometric.gamma(images, torch.full((1, 1, 1, 1), 1.7))
    assert torch.equal(changed[0, 0].flatten()[:2], images[0, 0].flatten()[:2])
    assert (changed[0, 0].flatten()[2:] > 0).all()
    assert torch.equal(changed[0, 1], images[0, 1])
    torch.testing.assert_close(changed[0, 2], images[0, 2])


def test_gamma_does_not_depend_on_the_unit() -> None:
    images, exponent = images_of(4, 3), torch.full((4, 1, 1, 1), 1.4)
    torch.testing.assert_close(photometric.gamma(images * 50, exponent), photometric.gamma(images, exponent) * 50)


# --- saturation and hue


def test_a_third_of_a_turn_moves_red_to_green_green_to_blue_and_blue_to_red() -> None:
    red, green, blue = 0, 1, 2
    images = images_of(2, 3)
    turned = photometric.saturation_and_hue(images, (red, green, blue), torch.ones(2), torch.full((2,), 1 / 3))
    torch.testing.assert_close(turned[:, green], images[:, red], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[:, blue], images[:, green], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[:, red], images[:, blue], atol=1e-5, rtol=0)


def test_saturation_scales_the_distance_from_grey_and_hue_keeps_it() -> None:
    images = images_of(3, 3)
    grey = images.mean(1, keepdim=True)
    factor, turn = torch.tensor([0.0, 0.5, 1.7]), torch.tensor([0.1, 0.0, -0.2])
    changed = photometric.saturation_and_hue(images, (0, 1, 2), factor, turn)
    torch.testing.assert_close(changed.mean(1, keepdim=True), grey)
    expected = (images - grey).norm(dim=1) * factor.view(-1, 1, 1)
    torch.testing.assert_close((changed - grey).norm(dim=1), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(changed[1], grey[1] + 0.5 * (images - grey)[1])


@pytest.mark.parametrize("rgb", [(2, 1, 0), (1, 2, 0)])
def test_saturation_and_hue_go_by_the_positions_of_the_bands(rgb: tuple[int, int, int]) -> None:
    images = images_of(4, 3)  # bands in the order red, green, blue
    widths = {**NONE, "saturation": 0.5, "hue": 0.2}
    expected = color(images, generator(), spread_of(3), **widths, rgb=(0, 1, 2))
    stored = torch.empty_like(images)
    for band, position in enumerate(rgb):
        stored[:, position] = images[:, band]
    changed = color(stored, generator(), torch.ones(3), **widths, rgb=rgb)
    for band, position in enumerate(rgb):
        torch.testing.assert_close(changed[:, position], expected[:, band])


def test_hue_fills_its_range_and_does_not_leave_it() -> None:
    images = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(2000, -1, -1, -1)
    turned = color(images, generator(), torch.ones(3), **{**NONE, "hue": 0.1}, rgb=(0, 1, 2)).flatten(1)
    angle = torch.atan2((turned[:, 1] - turned[:, 2]) * math.sqrt(3) / 2, turned[:, 0] - turned[:, 1:].mean(1))
    turns = angle / (2 * math.pi)
    assert turns.abs().max() <= 0.1 + 1e-4
    assert (turns.min() < -0.098, turns.max() > 0.098) == (True, True)


@pytest.mark.parametrize("knob", ["saturation", "hue"])
def test_saturation_and_hue_without_rgb_are_refused(knob: str) -> None:
    call: Callable[..., torch.Tensor] = color
    with pytest.raises(ValueError, match="red, green and blue"):
        call(images_of(2, 3), generator(), spread_of(3), **{**NONE, knob: 0.1})
