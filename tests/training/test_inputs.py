"""From stored numbers to what a network sees: the two formulas, for every dtype that a pack can have."""

import pytest
import torch

from terrablate.training.inputs import Inputs


@pytest.mark.parametrize(
    ("dtype", "stored", "scale", "offset", "expected"),
    [
        (torch.uint8, [0, 51, 255], 255, 0, [0.0, 0.2, 1.0]),
        (torch.uint16, [0, 10000, 65535], 10000, 0, [0.0, 1.0, 6.5535]),
        (torch.uint16, [0, 1000, 11000], 10000, -1000, [-0.1, 0.0, 1.0]),  # Sentinel-2 since baseline 04.00
        (torch.int16, [-3000, 0, 32767], 100, 0, [-30.0, 0.0, 327.67]),  # decibels of SAR x 100
        (torch.float32, [-0.5, 0.25, 3.5], 1, 0, [-0.5, 0.25, 3.5]),
    ],
)
def test_scale_divides_after_the_offset_and_never_clips(
    dtype: torch.dtype, stored: list[float], scale: float, offset: float, expected: list[float]
) -> None:
    images = torch.tensor(stored).to(dtype).view(1, 1, 1, 3)
    values = Inputs(scale, offset).scale(images)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor(expected).view(1, 1, 1, 3))


def test_standardised_training_images_have_zero_mean_and_unit_deviation_per_band() -> None:
    stored = torch.randint(0, 12000, (50, 4, 8, 8), dtype=torch.int32).to(torch.uint16)
    numbers = stored.double()
    mean, std = numbers.mean((0, 2, 3)), numbers.std((0, 2, 3), correction=0)
    values = Inputs(10000, -1000, mean.tolist(), std.tolist())(stored)
    torch.testing.assert_close(values.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_standardise_follows_its_formula_for_each_band() -> None:
    inputs = Inputs(10000, -1000, [3000.0, 500.0], [1000.0, 50.0])
    values = inputs(torch.tensor([[[[4000]], [[450]]]], dtype=torch.int32).to(torch.uint16))
    torch.testing.assert_close(values.flatten(), torch.tensor([1.0, -1.0]))


def test_scale_and_offset_do_not_change_what_is_standardised() -> None:
    stored = torch.tensor([[[[2000, 5000]]]], dtype=torch.int32).to(torch.uint16)
    one = Inputs(10000, 0, [3000.0], [1500.0])(stored)
    other = Inputs(255, -1000, [3000.0], [1500.0])(stored)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_band_that_never_varies_becomes_zero_and_keeps_its_scale() -> None:
    inputs = Inputs(255, 0, [51.0], [0.0])
    values = inputs(torch.tensor([51, 102], dtype=torch.uint8).view(1, 1, 1, 2))
    torch.testing.assert_close(values.flatten(), torch.tensor([0.0, 0.2]))


def test_without_statistics_nothing_is_standardised() -> None:
    inputs = Inputs(255, 0)
    stored = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    assert torch.equal(inputs(stored), inputs.scale(stored))
    assert inputs.state_dict() == {}
