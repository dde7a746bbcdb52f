"""Noise, blur, erasing and missing bands: what they change, how much, and each image on its own."""

import pytest
import torch

from augment_inputs import BANDS, each_differs, generator, images_of, spread_of
from terrablate.augment.band_drop import band_drop
from terrablate.augment.blur import blur, blurred
from terrablate.augment.erase import erase
from terrablate.augment.noise import noise

# --- noise


@pytest.mark.parametrize("bands", BANDS)
def test_noise_is_gaussian_of_the_deviation_asked_for_in_units_of_each_bands_spread(bands: int) -> None:
    images, spread = images_of(300, bands, side=16), spread_of(bands)
    added = noise(images, generator(), spread, sigma=0.5, random_sigma=False) - images
    torch.testing.assert_close(added.std((0, 2, 3)), 0.5 * spread, rtol=0.02, atol=0)
    assert (added.mean((0, 2, 3)).abs() < 0.01 * spread).all()
    assert ((added / spread.view(-1, 1, 1)).abs() < 7 * 0.5).all()
    within = (added.abs() < 0.5 * spread.view(-1, 1, 1)).float().mean().item()
    assert within == pytest.approx(0.6827, abs=0.005)


def test_noise_of_pixels_and_bands_is_independent() -> None:
    added = noise(torch.zeros(50, 2, 32, 32), generator(), torch.ones(2), 1.0, random_sigma=False)
    assert added.transpose(0, 1).flatten(1).corrcoef()[0, 1].abs() < 0.02
    assert torch.stack([added[..., :-1].flatten(), added[..., 1:].flatten()]).corrcoef()[0, 1].abs() < 0.02


def test_a_random_sigma_is_each_images_own_and_uniform_up_to_the_largest() -> None:
    added = noise(torch.zeros(2000, 1, 16, 16), generator(), torch.ones(1), 0.4, random_sigma=True)
    sigmas = added.std((1, 2, 3))
    assert sigmas.max() < 0.45
    assert sigmas.mean().item() == pytest.approx(0.2, abs=0.01)
    assert sigmas.std().item() == pytest.approx(0.4 / 12**0.5, abs=0.01)


# --- blur


def test_blur_is_the_gaussian_kernel() -> None:
    point = torch.zeros(3, 1, 21, 21)
    point[:, :, 10, 10] = 1
    sigmas = torch.tensor([0.5, 1.0, 2.0])
    result = blurred(point, sigmas, 2.0)
    place = torch.arange(-6, 7).float()
    for number, sigma in enumerate(sigmas):
        kernel = (-(place**2) / (2 * sigma**2)).exp()
        kernel = kernel / kernel.sum()
        expected = kernel[:, None] * kernel[None, :]
        torch.testing.assert_close(result[number, 0, 4:17, 4:17], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("sigma", [0.7, 2.0, 9.0])
def test_blur_keeps_constants_and_totals_and_stays_within_the_range(bands: int, sigma: float) -> None:
    images = images_of(8, bands, side=10)
    images[0] = 3.0
    changed = blurred(images, torch.linspace(0.3, sigma, 8), sigma)
    torch.testing.assert_close(changed[0], images[0])
    torch.testing.assert_close(changed.sum((2, 3)), images.sum((2, 3)), atol=1e-3, rtol=1e-5)
    assert (changed.amax((2, 3)) <= images.amax((2, 3)) + 1e-5).all()
    assert (changed.amin((2, 3)) >= images.amin((2, 3)) - 1e-5).all()
    assert (changed[1:].var((2, 3)) < images[1:].var((2, 3))).all()


def test_a_blur_of_no_width_is_the_identity_beside_one_of_some() -> None:
    images = images_of(2, 3, side=12)
    changed = blurred(images, torch.tensor([0.0, 1.0]), 1.0)
    assert torch.equal(changed[0], images[0])
    assert (changed[1] - images[1]).abs().max() > 0.1


def test_the_deviation_of_the_blur_is_each_images_own_and_grows_with_sigma() -> None:
    images = images_of(1, 3, side=12).expand(500, -1, -1, -1)
    draws = torch.rand(500, generator=generator())
    assert torch.equal(blur(images, generator(), 2.0), blurred(images, 2 * draws, 2.0))
    mild, strong = blur(images, generator(), 0.5), blur(images, generator(), 2.0)
    assert each_differs(strong[draws > 0.15])
    assert strong.var((2, 3)).mean() < mild.var((2, 3)).mean()


# --- erase


def test_erased_rectangles_have_the_area_and_the_ratio_asked_for() -> None:
    images = images_of(2000, 1, side=40)
    gone = erase(images, generator(), spread_of(1), 1.0, (0.05, 0.3), (0.5, 2.0)) != images
    height, width = gone.any(3).sum(2).flatten(), gone.any(2).sum(2).flatten()
    assert torch.equal(gone.sum((1, 2, 3)), height * width)  # each is one rectangle
    area = height * width / 1600
    rounding = 1 / 40 * 0.6
    assert 0.05 - rounding < area.min() < 0.06
    assert 0.28 < area.max() < 0.3 + rounding
    assert area.mean().item() == pytest.approx(0.175, abs=0.005)
    assert ((width / height) > 0.5 * 0.85).all()
    assert ((width / height) < 2.0 / 0.85).all()
    often = gone.float().mean((0, 1))
    assert (often[0, 0] > 0, often[-1, -1] > 0) == (True, True)  # corners included


@pytest.mark.parametrize("bands", BANDS)
def test_the_filling_is_the_mean_of_each_of_the_images_bands(bands: int) -> None:
    images = images_of(20, bands, side=16)
    changed = erase(images, generator(), spread_of(bands), 1.0)
    gone = (changed != images).all(1, keepdim=True)
    mean = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(changed, torch.where(gone, mean, images))


def test_a_filling_of_noise_has_the_mean_of_the_image_and_the_spread_of_the_band() -> None:
    images, spread = images_of(400, 2, side=16), torch.tensor([0.1, 1.0])
    changed = erase(images, generator(), spread, 1.0, (0.3, 0.3), fill="noise")
    gone = (changed != images).any(1, keepdim=True).expand_as(images)
    off = changed - images.mean((2, 3), keepdim=True)
    for band, deviation in enumerate(spread.tolist()):
        values = off[:, band][gone[:, band]]
        assert values.std().item() == pytest.approx(deviation, rel=0.02)
        assert values.mean().item() == pytest.approx(0, abs=0.02 * deviation)
        assert values.abs().max() < 7 * deviation


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_the_probability_of_erasing_turns(p: float) -> None:
    images = images_of(1500, 2)
    changed = (erase(images, generator(), spread_of(2), p) != images).any(3).any(2).any(1)
    assert changed.float().mean().item() == pytest.approx(p, abs=0.04 * (0 < p < 1))


# --- band_drop


@pytest.mark.parametrize("bands", [3, 4, 13])
def test_dropped_bands_hold_the_mean_of_the_training_data_and_the_others_stay(bands: int) -> None:
    images, center = images_of(1000, bands), torch.linspace(3, 4, bands)
    changed = band_drop(images, generator(), center, 0.3)
    dropped = (changed == center.view(-1, 1, 1)).all(3).all(2)
    assert torch.equal(torch.where(dropped[:, :, None, None], center.view(-1, 1, 1), images), changed)
    torch.testing.assert_close(dropped.float().mean(0), torch.full((bands,), 0.3), atol=0.05, rtol=0)


@pytest.mark.parametrize("bands", BANDS)
def test_one_band_stays_even_if_all_should_go_and_each_equally_often(bands: int) -> None:
    images = images_of(3000, bands)
    kept = (band_drop(images, generator(), torch.full((bands,), 9.0), 1.0) == images).all(3).all(2)
    assert (kept.sum(1) == 1).all()
    torch.testing.assert_close(kept.float().mean(0), torch.full((bands,), 1 / bands), atol=0.03, rtol=0)
