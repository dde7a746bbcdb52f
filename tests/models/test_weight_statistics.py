"""The standardisation that weights bring along: from torchgeo's transforms, and on which data it means something."""

import pytest
import torch
import torchgeo.models
import torchvision.transforms.v2 as T  # noqa: N812 - as torchgeo calls it
from torch import nn

from terrablate.models.torchgeo_index import weight_names
from terrablate.models.weight_statistics import IMAGENET, Unit, WeightStatistics, of_transforms, size_of_transforms

RGB = ("red", "green", "blue")


def told(weight: str, bands: tuple[str, ...]) -> WeightStatistics | None:
    kind, _, member = weight.partition(".")
    return of_transforms(getattr(torchgeo.models, kind)[member].transforms, bands)


def test_one_number_for_all_bands_is_that_of_each() -> None:
    found = told("ResNet18_Weights.SENTINEL2_RGB_MOCO", RGB)
    assert found == WeightStatistics(RGB, (0.0,) * 3, (10000.0,) * 3, "numbers")


def test_statistics_of_each_band_are_taken_as_they_are() -> None:
    found = told("ResNet50_Weights.SENTINEL2_ALL_SOFTCON", tuple(map(str, range(13))))
    assert found is not None
    assert (found.unit, found.mean[0], found.std[10]) == ("numbers", 1612.9, 47.5)


def test_normalisations_in_a_row_are_one() -> None:
    found = told("ResNet50_Weights.FMOW_RGB_GASSL", RGB)  # by 255, then ImageNet's
    assert found is not None
    assert found.unit == "bytes"
    assert found.mean == pytest.approx(IMAGENET.mean)
    assert found.std == pytest.approx(IMAGENET.std)


def test_radar_is_in_decibels() -> None:
    found = told("ResNet50_Weights.SENTINEL1_GRD_MOCO", ("VV", "VH"))
    assert found == WeightStatistics(("VV", "VH"), (-12.59, -20.26), (5.26, 5.91), "decibels")


@pytest.mark.parametrize(
    "weight",
    [
        "ResNet50_Weights.SENTINEL2_MI_MS_SATLAS",  # bytes for red, green, blue and numbers for the others
        "ResNet18_Weights.SENTINEL2_RGB_SECO",  # thousands of deviations wide, by a slip in torchgeo
        "ResNet50_Weights.SENTINEL1_GRD_CLOSP",  # says nothing
    ],
)
def test_statistics_of_which_nobody_can_tell_the_numbers_are_unknown(weight: str) -> None:
    kind, _, member = weight.partition(".")
    bands = tuple(getattr(torchgeo.models, kind)[member].meta["bands"])
    assert told(weight, bands) is None


@pytest.mark.parametrize("scale", [255.0, 10000.0])
def test_what_is_told_standardises_as_torchgeos_own_transforms_do(scale: float) -> None:
    compared = 0
    for weight in weight_names():
        kind, _, member = weight.partition(".")
        enum = getattr(torchgeo.models, kind)[member]
        bands = tuple(map(str, range(len(enum.meta.get("bands") or "")))) or RGB
        statistics = of_transforms(enum.transforms, bands)
        known = statistics.scaled(scale) if statistics else None
        layers = [layer for layer in enum.transforms.modules() if isinstance(layer, T.Normalize)] if known else []
        if known is None or (max(layers[0].mean) < 1 and max(layers[0].std) < 1):  # trained on 0 to 1, not on bytes
            continue
        stored = torch.rand(2, len(bands), 1, 1, dtype=torch.float64) * scale
        expected = stored.clone()
        for layer in layers:
            expected = layer(expected)
        center, spread = (torch.tensor(numbers).view(-1, 1, 1) for numbers in zip(*known.values(), strict=True))
        torch.testing.assert_close((stored / scale - center) / spread, expected, rtol=1e-4, atol=1e-4)
        compared += 1
    assert compared > 10


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [
        ("bytes", 255, (0.5, 0.25)),
        ("bytes", 10000, None),  # reflectance is not on the scale of a photograph
        ("bytes", 1, None),
        ("numbers", 10000, (0.5 / 10000, 0.25 / 10000)),
        ("numbers", 255, None),
        ("numbers", 1, None),
        ("decibels", 1, (0.5, 0.25)),
        ("decibels", 100, (0.5, 0.25)),
        ("decibels", 255, None),
        ("scaled", 1, (0.5, 0.25)),
        ("scaled", 10000, (0.5, 0.25)),
    ],
)
def test_statistics_speak_of_data_of_the_same_quantity_only(
    unit: Unit, scale: float, expected: tuple[float, float] | None
) -> None:
    found = WeightStatistics(("red",), (0.5,), (0.25,), unit).scaled(scale)
    assert found == (None if expected is None else {"red": pytest.approx(expected)})


def test_the_size_is_that_after_the_last_resize_or_crop() -> None:
    transforms = torchgeo.models.ResNet18_Weights.SENTINEL2_ALL_MOCO.transforms  # resized to 256, cropped to 224
    assert size_of_transforms(transforms) == 224
    assert size_of_transforms(nn.Sequential(T.CenterCrop(224), T.Resize((256, 256)))) == 256
    assert size_of_transforms(nn.Identity()) is None
    assert size_of_transforms(None) is None
