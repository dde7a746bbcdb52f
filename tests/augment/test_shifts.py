"""Graded shifts: nothing at severity 0, what each name says at the others, by the same amount for all images."""

import math

import pytest
import torch

from augment_inputs import BANDS, generator, images_of, smooth_images, spread_of
from terrablate.augment import affine
from terrablate.augment.blur import blurred
from terrablate.augment.shifts import SHIFTS, Shift, scale, shifted

SHIFT = {shift.name: shift for shift in SHIFTS}
every_shift = pytest.mark.parametrize("shift", [pytest.param(shift, id=shift.name) for shift in SHIFTS])


def moved(shift: Shift | str, images: torch.Tensor, severity: float = 1.0, seed: int = 0) -> torch.Tensor:
    found = SHIFT[shift] if isinstance(shift, str) else shift  # type: ignore[index]
    return shifted(found, images, severity, generator(seed), spread_of(images.shape[1]))


def quotients(name: str, images: torch.Tensor, severity: float = 1.0) -> torch.Tensor:
    """N,C: what each band was multiplied by, the same for all its pixels."""
    factors = moved(name, images, severity) / images
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(factors))
    return factors[:, :, 0, 0]


# --- what all shifts have in common


@every_shift
@pytest.mark.parametrize("bands", BANDS)
def test_severity_0_gives_the_images_to_the_bit(shift: Shift, bands: int) -> None:
    images = images_of(3, bands)
    assert torch.equal(moved(shift, images, 0.0), images)
    assert shift.amount(0.0) == shift.neutral


@every_shift
@pytest.mark.parametrize("bands", BANDS)
def test_a_shift_goes_further_with_its_severity_for_every_image(shift: Shift, bands: int) -> None:
    images = smooth_images(6, bands, 24)
    off = [(moved(shift, images, severity) - images).abs().mean((1, 2, 3)) for severity in (0.2, 0.4, 0.6)]
    assert (off[0] > 1e-4).all()
    assert (off[1] > off[0]).all()
    assert (off[2] > off[1]).all()


@every_shift
def test_one_seed_gives_the_same_images_and_the_shift_leaves_its_input_as_it_was(shift: Shift) -> None:
    images = images_of(5, 4)
    before = images.clone()
    assert torch.equal(moved(shift, images, 0.6, seed=3), moved(shift, images, 0.6, seed=3))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", [name for name in SHIFT if name != "blur"])
def test_images_go_in_directions_of_their_own_that_another_seed_changes(name: str) -> None:
    images = smooth_images(1, 3, 24).expand(16, -1, -1, -1)
    first, second = moved(name, images, seed=0), moved(name, images, seed=1)
    assert any(not torch.allclose(first[0], other) for other in first[1:])
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", [name for name in SHIFT if name != "blur"])
def test_an_image_goes_in_the_same_direction_at_all_severities(name: str) -> None:
    images = smooth_images(8, 3, 48)
    first, second = ((moved(name, images, severity) - images).flatten(1) for severity in (0.05, 0.1))
    assert (torch.cosine_similarity(first, second) > 0.8).all()


@every_shift
def test_the_global_random_state_is_left_alone(shift: Shift) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    moved(shift, images_of(2, 3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_a_severity_outside_0_to_1_is_refused(severity: float) -> None:
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        moved("blur", images_of(1, 1), severity)


# --- what each does


def one_of(images: torch.Tensor, candidates: list[torch.Tensor]) -> list[int]:
    """For each image which of the candidates it is."""
    return [
        next(number for number, each in enumerate(candidates) if torch.allclose(image, each[row], atol=1e-5))
        for row, image in enumerate(images)
    ]


def test_rotation_turns_by_the_angle_to_the_left_or_to_the_right() -> None:
    images = images_of(20, 3, side=9)
    sides = [affine.warp(images, affine.rotated(torch.full((20,), sign * math.radians(18)), 9, 9)) for sign in (1, -1)]
    assert set(one_of(moved("rotation", images, 0.4), sides)) == {0, 1}


def test_translation_moves_a_point_by_the_distance_in_many_directions() -> None:
    size = 41
    images = torch.zeros(50, 1, size, size)
    images[:, :, size // 2, size // 2] = 1.0
    seen = moved("translation", images, 0.8)[:, 0]
    place = torch.arange(size) - size // 2
    down, right = (seen.sum(2) * place).sum(1), (seen.sum(1) * place).sum(1)
    torch.testing.assert_close((down**2 + right**2).sqrt(), torch.full((50,), 0.2 * size), atol=0.01, rtol=0)
    quadrants = {(bool(a), bool(b)) for a, b in zip(down > 0, right > 0, strict=True)}
    assert len(quadrants) == 4


def test_scale_makes_a_disc_larger_or_smaller_by_the_factor() -> None:
    size = 64
    place = torch.arange(size) - (size - 1) / 2
    disc = (place[:, None] ** 2 + place[None] ** 2 < 10**2).float().expand(20, 1, size, size)
    areas = moved("scale", disc, 0.5).sum((1, 2, 3)) / disc[0].sum()
    larger = areas > 1
    assert 0 < larger.sum() < 20
    torch.testing.assert_close(areas[larger], torch.full((int(larger.sum()),), 1.5**2), rtol=0.01, atol=0)
    torch.testing.assert_close(areas[~larger], torch.full((int((~larger).sum()),), 1.5**-2), rtol=0.01, atol=0)


def test_images_that_shrink_are_smoothed_against_aliasing_and_those_that_grow_are_not() -> None:
    stripes = (torch.arange(64) % 2).float().expand(8, 1, 64, 64)  # finer than the new pixels
    seen = scale(stripes, 1.9, generator())
    windows = [affine.window(*(torch.full((8,), side) for side in (each, each, 0.0, 0.0))) for each in (1 / 1.9, 1.9)]
    enlarged, aliased = (affine.warp(stripes, window) for window in windows)
    grows = torch.tensor([torch.allclose(image, enlarged[0], atol=1e-5) for image in seen])
    assert 0 < grows.sum() < 8
    assert (seen[~grows].std(dim=(1, 2, 3)) < 0.5 * aliased[0].std()).all()


def test_brightness_multiplies_all_bands_alike() -> None:
    factors = quotients("brightness", images_of(20, 4) + 0.1, 0.4)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert {round(float(each), 4) for each in factors[:, 0]} == {0.8, 1.2}


@pytest.mark.parametrize("bands", [2, 3, 4, 13])
def test_band_gain_is_a_factor_of_each_band_with_mean_1_and_the_deviation(bands: int) -> None:
    factors = quotients("band_gain", images_of(20, bands) + 0.1, 0.8)
    torch.testing.assert_close(factors.mean(1), torch.ones(20))
    torch.testing.assert_close(factors.std(1, correction=0), torch.full((20,), 0.2))
    assert (factors > 0).all()


def test_band_gain_of_a_single_band_is_brightness() -> None:
    factors = quotients("band_gain", images_of(20, 1) + 0.1, 0.8)
    assert {round(float(each), 4) for each in factors[:, 0]} == {0.8, 1.2}


def test_haze_adds_the_same_share_of_each_bands_deviation() -> None:
    images = images_of(20, 4)
    added = (moved("haze", images, 0.6) - images) / spread_of(4).view(-1, 1, 1)
    torch.testing.assert_close(added, added[:, :1, :1, :1].expand_as(added), atol=1e-4, rtol=0)
    assert {round(float(each), 3) for each in added[:, 0, 0, 0]} == {0.6, -0.6}


def test_noise_has_the_deviation_in_each_band_and_is_independent_between_pixels_and_bands() -> None:
    images = images_of(4, 3, side=100)
    added = (moved("noise", images, 0.4) - images) / spread_of(3).view(-1, 1, 1)
    torch.testing.assert_close(added.std(dim=(2, 3)), torch.full((4, 3), 0.2), rtol=0.03, atol=0)
    assert added.mean((2, 3)).abs().max() < 0.01
    assert (added[:, 0] * added[:, 1]).mean().abs() < 0.01 * 0.2
    assert (added[..., 1:] * added[..., :-1]).mean().abs() < 0.01 * 0.2


def test_blur_keeps_the_mean_and_has_the_deviation() -> None:
    images = images_of(4, 3, side=31)
    torch.testing.assert_close(moved("blur", images).mean((2, 3)), images.mean((2, 3)))
    torch.testing.assert_close(moved("blur", images, 0.3), blurred(images, torch.full((4,), 0.6), 0.6))
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    place = torch.arange(31) - 15
    variance = (moved("blur", point)[0, 0].sum(0) * place**2).sum()
    assert float(variance) == pytest.approx(2.0**2, rel=0.03)  # the kernel ends after three deviations
