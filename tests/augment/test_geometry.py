"""Geometry: each image its own draw, pixels where geometry says, no corner without an image."""

import math
from collections.abc import Callable

import pytest
import torch

from augment_inputs import BANDS, each_differs, generator, images_of, smooth_images
from terrablate.augment import affine
from terrablate.augment.boxes import random_sides
from terrablate.augment.crop import crop
from terrablate.augment.flip import flip
from terrablate.augment.rotate import rotate
from terrablate.augment.rotate90 import rotate90, symmetries
from terrablate.augment.translate import translate
from terrablate.errors import DataError

# --- flip


@pytest.mark.parametrize("operation", [flip, rotate90])
@pytest.mark.parametrize("bands", BANDS)
def test_values_are_moved_and_none_is_changed(operation: Callable[..., torch.Tensor], bands: int) -> None:
    images = images_of(64, bands)
    moved = operation(images, generator())
    assert torch.equal(moved.flatten(2).sort().values, images.flatten(2).sort().values)
    assert not torch.equal(moved, images)


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


def test_flip_gives_what_it_always_gave() -> None:
    """Finished runs are compared with new ones: one uniform draw an axis and image, one axis after the other."""
    images = images_of(32, 3)[..., :4]
    draws = torch.rand(2, 32, 1, 1, 1, generator=generator(3))
    expected = torch.where(draws[0] < 0.3, images.flip(-1), images)
    expected = torch.where(draws[1] < 0.6, expected.flip(-2), expected)
    assert torch.equal(flip(images, generator(3), 0.3, 0.6), expected)


# --- rotate90


def test_the_eight_symmetries_are_eight_and_form_the_group_of_the_square() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    views = symmetries(image)
    assert each_differs(torch.cat(views))
    known = {tuple(view.flatten().tolist()) for view in views}
    assert {tuple(again.flatten().tolist()) for view in views for again in symmetries(view)} == known


def test_all_symmetries_are_equally_likely() -> None:
    images = images_of(1, 2).expand(4000, -1, -1, -1)
    turned = rotate90(images, generator())
    for view in symmetries(images[:1]):
        assert (turned == view).all((1, 2, 3)).float().mean().item() == pytest.approx(1 / 8, abs=0.02)


@pytest.mark.parametrize(("p", "unchanged"), [(0.0, 1.0), (0.5, 0.5 + 0.5 / 8)])
def test_the_probability_of_rotate90_turns(p: float, unchanged: float) -> None:
    images = images_of(2000, 1)
    same = (rotate90(images, generator(), p) == images).all((1, 2, 3)).float().mean().item()
    assert same == pytest.approx(unchanged, abs=0.04 * (p > 0))


def test_rotate90_of_what_is_not_square_is_refused() -> None:
    with pytest.raises(DataError, match="4 x 6 pixels: rotate90 needs squares"):
        rotate90(images_of(2, 3)[:, :, :4], generator())


# --- affine maps


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_a_rotation_by_right_angles_is_rot90(quarters: int) -> None:
    images = images_of(4, 3, side=9)
    turned = affine.warp(images, affine.rotated(torch.full((4,), quarters * math.pi / 2), 9, 9))
    torch.testing.assert_close(turned, torch.rot90(images, quarters, (-2, -1)), atol=1e-5, rtol=0)


def test_a_rotation_turns_about_the_centre_without_stretching_what_is_not_square() -> None:
    marked = torch.zeros(1, 1, 21, 41)
    marked[0, 0, 10, 30] = 1  # ten pixels to the right of the centre
    turned = affine.warp(marked, affine.rotated(torch.tensor([math.pi / 2]), 21, 41))
    assert turned[0, 0, 0, 20].item() == pytest.approx(1, abs=1e-4)  # ten above it: counter-clockwise


def test_a_free_rotation_takes_a_point_where_the_angle_says() -> None:
    side, angle = 65, math.radians(30)
    rows = torch.arange(side).float() - 32
    spot = (-(rows[:, None] ** 2 + (rows[None, :] - 20) ** 2) / 18).exp()[None, None]
    turned = affine.warp(spot, affine.rotated(torch.tensor([angle]), side, side))[0, 0]
    turned = turned * (rows[:, None] ** 2 + rows[None, :] ** 2 < 31**2)  # without the mirror images in the corners
    total = turned.sum()
    right, down = (turned * rows[None, :]).sum() / total, (turned * rows[:, None]).sum() / total
    assert right.item() == pytest.approx(20 * math.cos(angle), abs=0.05)
    assert down.item() == pytest.approx(-20 * math.sin(angle), abs=0.05)


def test_a_shift_by_whole_pixels_is_a_shift_inside_and_a_mirror_image_at_the_edge() -> None:
    images = images_of(2, 4, side=8)
    moved = affine.warp(images, affine.translated(torch.full((2,), 3 / 8), torch.full((2,), -2 / 8)))
    torch.testing.assert_close(moved[:, :, :6, 3:], images[:, :, 2:, :5], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[:, :, :6, :3], images[:, :, 2:, :3].flip(-1), atol=1e-5, rtol=0)


def test_a_shear_moves_rows_in_proportion_to_their_distance_from_the_centre() -> None:
    images = torch.zeros(1, 1, 9, 9)
    images[0, 0, :, 4] = 1
    none = torch.zeros(1)
    sheared = affine.warp(images, affine.sheared(torch.ones(1), none, 9, 9))[0, 0]
    torch.testing.assert_close(sheared, torch.eye(9), atol=1e-5, rtol=0)
    other = affine.warp(images.mT.contiguous(), affine.sheared(none, torch.ones(1), 9, 9))[0, 0]
    torch.testing.assert_close(other, torch.eye(9), atol=1e-5, rtol=0)


def test_a_window_shows_its_part_of_the_image() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    half = torch.tensor([0.5])
    shown = affine.warp(images, affine.window(half, half, -half, half))[0, 0]  # lower left quarter
    rows, columns = torch.tensor([1.75, 2.25, 2.75]), torch.tensor([0.25, 0.75, 1.25])  # half a pixel apart
    torch.testing.assert_close(shown[:3, 1:], 4 * rows[:, None] + columns, atol=1e-5, rtol=0)


def test_neighbouring_maps_multiplied_are_the_maps_one_after_another() -> None:
    images = smooth_images(3, 2, 64)
    first = affine.rotated(torch.tensor([0.1, -0.2, 0.3]), 64, 64)
    second = affine.window(*torch.tensor([[0.6, 0.5, 0.4], [0.5, 0.6, 0.4], [0.1, 0.0, -0.1], [0.0, 0.2, 0.1]]))
    once, twice = affine.warp(images, first @ second), affine.warp(affine.warp(images, first), second)
    torch.testing.assert_close(once, twice, atol=5e-3, rtol=0)
    assert (affine.warp(images, second @ first) - twice).abs().max() > 0.05  # the order matters


# --- the operations: ranges of what is drawn


def test_angles_fill_their_range_and_do_not_leave_it() -> None:
    matrices = rotate(images_of(3000, 1), generator(), 40)
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    assert angles.abs().max() <= 40 + 1e-3
    assert (angles.min() < -39, angles.max() > 39) == (True, True)
    assert angles.mean().item() == pytest.approx(0, abs=1.5)


def test_shifts_fill_their_range_along_both_axes_independently() -> None:
    matrices = translate(images_of(3000, 1), generator(), 0.25)
    shifts = -matrices[:, :2, 2] / 2
    assert shifts.abs().max() <= 0.25 + 1e-6
    assert (shifts.amax(0) > 0.24).all()
    assert (shifts.amin(0) < -0.24).all()
    assert shifts.T.corrcoef()[0, 1].abs() < 0.06


def test_crops_have_the_areas_and_ratios_they_are_asked_for_and_lie_within_the_image() -> None:
    matrices = crop(images_of(5000, 1), generator(), (0.3, 0.8), (0.5, 2.0))
    width, height, x, y = matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]
    area = width * height
    assert 0.3 - 1e-5 <= area.min() < 0.31
    assert 0.79 < area.max() <= 0.8 + 1e-5
    assert area.mean().item() == pytest.approx(0.55, abs=0.01)  # uniform
    small = area < 0.45  # where every ratio fits
    ratios = (width / height)[small].log()
    assert ratios.abs().max() <= math.log(2) + 1e-4
    assert ratios.mean().item() == pytest.approx(0, abs=0.03)
    assert ratios.std().item() == pytest.approx(2 * math.log(2) / 12**0.5, abs=0.03)  # log-uniform
    assert ((x.abs() + width).max() <= 1 + 1e-5, (y.abs() + height).max() <= 1 + 1e-5) == (True, True)
    assert (x.min() < -0.4, x.max() > 0.4, y.min() < -0.4, y.max() > 0.4) == (True, True, True, True)


@pytest.mark.parametrize(("ratio", "expected"), [((3.0, 4.0), 1 / 0.9), ((0.1, 0.2), 0.9)])
def test_a_ratio_that_never_fits_becomes_the_one_that_just_fits(ratio: tuple[float, float], expected: float) -> None:
    width, height = random_sides(images_of(5, 1), generator(), (0.9, 0.9), ratio)
    torch.testing.assert_close(width / height, torch.full((5,), expected))
    torch.testing.assert_close(width * height, torch.full((5,), 0.9))


def test_a_crop_of_the_whole_area_is_the_identity() -> None:
    images = images_of(6, 4, side=16)
    shown = affine.warp(images, crop(images, generator(), (1.0, 1.0), (0.75, 4 / 3)))
    torch.testing.assert_close(shown, images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("map_of", [lambda x, g: rotate(x, g, 180), lambda x, g: translate(x, g, 1.0), crop])
@pytest.mark.parametrize("bands", BANDS)
def test_warped_values_stay_within_the_range_of_their_image_and_band_so_no_corner_is_empty(
    map_of: Callable[..., torch.Tensor], bands: int
) -> None:
    images = images_of(20, bands, side=12) + 0.5
    warped = affine.warp(images, map_of(images, generator()))
    assert (warped.amin((2, 3)) >= images.amin((2, 3)) - 1e-5).all()
    assert (warped.amax((2, 3)) <= images.amax((2, 3)) + 1e-5).all()
