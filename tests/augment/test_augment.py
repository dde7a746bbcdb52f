"""Augmentation: each sample its own draws, the formulas, the identity where nothing is asked for."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields

import pytest
import torch

from terrablate.augment.color import color
from terrablate.augment.flip import flip
from terrablate.augment.pipeline import OPERATIONS, Augmentation
from terrablate.config import Config
from terrablate.config.schema import Color, Flip

BANDS = [1, 3, 4, 13]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(count: int, bands: int, side: int = 6) -> torch.Tensor:
    return torch.rand(count, bands, side, side, generator=generator(99)) * 2  # reflectance may exceed 1


def spread_of(bands: int) -> torch.Tensor:
    return torch.linspace(0.01, 0.5, bands)


# --- flip


@pytest.mark.parametrize("bands", BANDS)
def test_flip_moves_values_and_changes_none(bands: int) -> None:
    images = images_of(64, bands)
    flipped = flip(images, generator())
    assert torch.equal(flipped.flatten(2).sort().values, images.flatten(2).sort().values)
    assert not torch.equal(flipped, images)


def test_each_image_is_mirrored_by_its_own_draw_and_all_bands_alike() -> None:
    images = images_of(400, 3)
    flipped = flip(images, generator())
    views = {"none": images, "h": images.flip(-1), "v": images.flip(-2), "hv": images.flip(-1, -2)}
    same = {name: (flipped == view).all((1, 2, 3)) for name, view in views.items()}
    assert (sum(mask.int() for mask in same.values()) == 1).all()
    for mask in same.values():
        assert mask.float().mean().item() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize(
    ("horizontal", "vertical", "expected"),
    [
        (0.0, 0.0, lambda images: images),
        (1.0, 0.0, lambda images: images.flip(-1)),
        (0.0, 1.0, lambda images: images.flip(-2)),
        (1.0, 1.0, lambda images: images.flip(-1, -2)),
    ],
)
def test_flip_probabilities_turn(
    horizontal: float, vertical: float, expected: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    images = images_of(8, 4)
    assert torch.equal(flip(images, generator(), horizontal, vertical), expected(images))


# --- color


@pytest.mark.parametrize("bands", BANDS)
def test_color_follows_its_formula(bands: int) -> None:
    images, spread, count = images_of(5, bands), spread_of(bands), 5
    widths = {"brightness": 0.3, "contrast": 0.4, "band_gain": 0.2, "haze": 0.1}
    changed = color(images, generator(), spread, **widths)
    draws = generator()
    g = 1 + (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.3
    g_c = 1 + (2 * torch.rand(count, bands, 1, 1, generator=draws) - 1) * 0.2
    k = 1 + (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.4
    h = (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1) * 0.1
    m = images.mean((2, 3), keepdim=True)
    expected = g * g_c * (m + k * (images - m)) + h * spread.view(1, -1, 1, 1)
    torch.testing.assert_close(changed, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("bands", BANDS)
def test_color_of_zero_widths_is_the_identity(bands: int) -> None:
    images = images_of(5, bands)
    assert torch.equal(color(images, generator(), spread_of(bands), 0.0, 0.0, 0.0, 0.0), images)


@pytest.mark.parametrize("knob", ["brightness", "contrast", "band_gain", "haze"])
def test_each_knob_of_color_turns_and_each_image_has_its_own_draw(knob: str) -> None:
    images = images_of(1, 3).expand(6, -1, -1, -1)
    widths = dict.fromkeys(["brightness", "contrast", "band_gain", "haze"], 0.0)
    changed = color(images, generator(), spread_of(3), **{**widths, knob: 0.3})
    assert not torch.equal(changed, images)
    assert len({tuple(image.flatten().tolist()) for image in changed}) == 6


@pytest.mark.parametrize(("knob", "low", "high"), [("brightness", 0.8, 1.2), ("band_gain", 0.8, 1.2)])
def test_gains_fill_their_range_and_do_not_leave_it(knob: str, low: float, high: float) -> None:
    widths = dict.fromkeys(["brightness", "contrast", "band_gain", "haze"], 0.0)
    gains = color(torch.ones(2000, 2, 2, 2), generator(), torch.ones(2), **{**widths, knob: 0.2})
    assert low <= gains.min() < low + 0.01
    assert high - 0.01 < gains.max() <= high
    bands_differ = (gains[:, 0] != gains[:, 1]).any()
    assert bool(bands_differ) is (knob == "band_gain")


def test_haze_is_measured_by_the_deviation_of_each_band() -> None:
    spread = torch.tensor([1.0, 0.1, 0.0])
    shift = color(torch.zeros(500, 3, 2, 2), generator(), spread, 0.0, 0.0, 0.0, 0.5)
    torch.testing.assert_close(shift[:, 1], shift[:, 0] * 0.1)
    assert (shift[:, 2] == 0).all()
    assert shift[:, 0].abs().max().item() == pytest.approx(0.5, abs=0.01)


def test_contrast_keeps_the_mean_of_each_band() -> None:
    images = images_of(20, 3)
    changed = color(images, generator(), spread_of(3), 0.0, 0.9, 0.0, 0.0)
    torch.testing.assert_close(changed.mean((2, 3)), images.mean((2, 3)))
    assert not torch.allclose(changed.std((2, 3)), images.std((2, 3)))


def test_color_never_clips() -> None:
    images = torch.cat([torch.full((200, 1, 4, 4), 5.0), torch.zeros(200, 1, 4, 4)], 1)
    changed = color(images, generator(), torch.tensor([1.0, 1.0]), 0.5, 0.5, 0.5, 0.5)
    assert changed[:, 0].max() > 5
    assert changed[:, 1].min() < 0


# --- the recipe


@pytest.mark.parametrize("name", ["flip", "flip_color"])
@pytest.mark.parametrize("bands", BANDS)
def test_a_recipe_changes_images_alike_under_one_seed(compose: Callable[..., Config], name: str, bands: int) -> None:
    augment = Augmentation(compose(f"aug={name}").aug.operations, spread_of(bands))
    images = images_of(16, bands)
    original = images.clone()
    first = augment(images, generator(5))
    assert torch.equal(images, original)  # the batch itself is left alone
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert torch.equal(first, augment(images, generator(5)))
    assert not torch.equal(first, augment(images, generator(6)))
    assert not torch.equal(first, images)


def test_no_recipe_is_the_identity_and_draws_nothing(compose: Callable[..., Config]) -> None:
    augment = Augmentation(compose("aug=none").aug.operations, spread_of(3))
    images, draws = images_of(4, 3), generator()
    assert augment(images, draws) is images
    assert torch.equal(draws.get_state(), generator().get_state())


def test_operations_run_in_their_order_with_their_parameters() -> None:
    operations = [Flip(op="flip", horizontal=1.0, vertical=0.0), Color(op="color", haze=0.4)]
    images, draws = images_of(4, 3), generator(1)
    expected = color(flip(images, draws, 1.0, 0.0), draws, spread_of(3), haze=0.4)
    assert torch.equal(Augmentation(operations, spread_of(3))(images, generator(1)), expected)


def test_the_config_has_every_parameter_of_every_operation_with_its_default() -> None:
    assert set(OPERATIONS) == {"flip", "color"}
    for name, section in {"flip": Flip, "color": Color}.items():
        parameters = inspect.signature(OPERATIONS[name]).parameters
        ours = {
            key: parameter.default
            for key, parameter in parameters.items()
            if key not in ("images", "generator", "spread")
        }
        theirs = {field.name: field.default for field in fields(section) if field.name != "op"}
        assert theirs == ours
        assert MISSING not in theirs.values()


def test_the_spread_is_not_part_of_the_weights() -> None:
    assert Augmentation([], spread_of(3)).state_dict() == {}
