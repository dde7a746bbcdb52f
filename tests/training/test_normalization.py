"""data.normalize: each choice gives the numbers it promises; auto takes the weights' statistics where they apply."""

import logging
from collections.abc import Callable

import pytest
import torch

from terrablate.config import Config
from terrablate.data.statistics import BandStatistics
from terrablate.errors import ConfigError
from terrablate.models.weight_statistics import IMAGENET, WeightStatistics
from terrablate.training.inputs import Inputs
from terrablate.training.normalization import Normalization, choose_normalization

BANDS = ["B02", "B03", "B04", "B08"]
STATISTICS = BandStatistics(
    mean=[1000.0, 1100.0, 1200.0, 3000.0],
    std=[100.0, 200.0, 300.0, 400.0],
    min=[10.0, 20.0, 30.0, 40.0],
    max=[9010.0, 8020.0, 7030.0, 6040.0],
    p2=[500.0, 600.0, 700.0, 800.0],
    p98=[2500.0, 2600.0, 3700.0, 5800.0],
)
SENTINEL2 = WeightStatistics(("red", "green", "blue", "B8"), (3.0, 2.0, 1.0, 0.0), (30.0, 20.0, 10.0, 5.0), "numbers")

type Compose = Callable[..., Config]


def choose(compose: Compose, *overrides: str, weights: WeightStatistics | None = None) -> Normalization:
    bands = [] if any(word.startswith("data.bands") for word in overrides) else [f"data.bands=[{','.join(BANDS)}]"]
    return choose_normalization(compose(*bands, *overrides).data, BANDS, STATISTICS, weights)


def standardised(compose: Compose, stored: list[float], *overrides: str) -> list[float]:
    """One pixel of the four bands, as the network sees it."""
    config = compose(*overrides)
    chosen = choose(compose, *overrides)
    inputs = Inputs(config.data.scale, config.data.offset, chosen.center, chosen.spread)
    return inputs(torch.tensor(stored).view(1, 4, 1, 1)).flatten().tolist()


# --- each choice


@pytest.mark.parametrize("offset", ["", "data.offset=-1000"])
@pytest.mark.parametrize(
    ("choice", "low", "high"),
    [
        ("minmax", STATISTICS.min, STATISTICS.max),
        ("percentile", STATISTICS.p2, STATISTICS.p98),
    ],
)
def test_minmax_and_percentile_bring_their_limits_to_zero_and_one(
    compose: Compose, choice: str, low: list[float], high: list[float], offset: str
) -> None:
    given = [f"data.normalize={choice}", *([offset] if offset else [])]
    assert standardised(compose, low, *given) == pytest.approx([0.0] * 4, abs=1e-6)
    assert standardised(compose, high, *given) == pytest.approx([1.0] * 4)


def test_percentile_does_not_clip(compose: Compose) -> None:
    found = standardised(compose, STATISTICS.max, "data.normalize=percentile")
    assert found[0] == pytest.approx((9010 - 500) / 2000)


@pytest.mark.parametrize("choice", ["dataset", "auto"])
def test_dataset_has_mean_zero_and_deviation_one(compose: Compose, choice: str) -> None:
    one_above = [mean + std for mean, std in zip(STATISTICS.mean, STATISTICS.std, strict=True)]
    assert standardised(compose, STATISTICS.mean, f"data.normalize={choice}") == pytest.approx([0.0] * 4, abs=1e-5)
    assert standardised(compose, one_above, f"data.normalize={choice}") == pytest.approx([1.0] * 4)
    assert choose(compose, f"data.normalize={choice}").kind == "dataset"


def test_none_gives_the_scaled_values(compose: Compose) -> None:
    assert standardised(compose, [0.0, 1000.0, 5000.0, 10000.0], "data.normalize=none") == pytest.approx(
        [0, 0.1, 0.5, 1]
    )
    assert choose(compose, "data.normalize=none").plain()["center"] is None


@pytest.mark.parametrize(("scale", "offset"), [(10000, 0), (255, 0), (10000, -1000)])
def test_imagenet_acts_on_scaled_red_green_and_blue_and_leaves_other_bands_the_train_splits_statistics(
    compose: Compose, scale: int, offset: int
) -> None:
    given = ("data.normalize=imagenet", f"data.scale={scale}", f"data.offset={offset}")
    stored = [0.4 * scale - offset] * 3 + [3400.0]  # blue, green, red: 0.4 after scaling
    expected = [(0.4 - 0.406) / 0.225, (0.4 - 0.456) / 0.224, (0.4 - 0.485) / 0.229, 1.0]
    assert standardised(compose, stored, *given) == pytest.approx(expected, abs=1e-5)
    assert choose(compose, *given).origin == ["imagenet", "imagenet", "imagenet", "dataset"]


def test_imagenet_is_refused_without_red_green_or_blue(compose: Compose) -> None:
    message = (
        r"^data.normalize=imagenet: it has statistics of red, green and blue only, .* bands B08, VV is one of them"
    )
    with pytest.raises(ConfigError, match=message):
        compose("data.normalize=imagenet", "data.band_names=[B08,VV,B04]", "data.rgb=null", "data.bands=[B08,VV]")
    data = compose("data.normalize=imagenet").data
    with pytest.raises(ConfigError, match=message):  # bands that only the source knows
        choose_normalization(data, ["B08", "VV"], BandStatistics(*([[1.0, 1.0]] * 6)), None)


def test_a_band_that_never_varies_keeps_its_scale(compose: Compose) -> None:
    constant = BandStatistics(*([[51.0]] * 6))
    for choice in ("minmax", "percentile"):
        data = compose("data.scale=255", f"data.normalize={choice}").data
        chosen = choose_normalization(data, ["red"], constant, None)
        inputs = Inputs(255, 0, chosen.center, chosen.spread)
        assert inputs(torch.tensor([51.0, 102.0]).view(1, 1, 1, 2)).flatten().tolist() == pytest.approx([0.0, 0.2])


# --- auto


def test_auto_takes_the_weights_statistics_by_band_name(compose: Compose) -> None:
    chosen = choose(compose, weights=SENTINEL2)
    assert chosen.kind == "weights"
    assert chosen.center == pytest.approx([1.0, 2.0, 3.0, 0.0])  # blue, green, red, B08
    assert chosen.spread == pytest.approx([10.0, 20.0, 30.0, 5.0])
    assert chosen.origin == ["weights"] * 4


def test_auto_takes_the_offset_off_again(compose: Compose) -> None:
    chosen = choose(compose, "data.offset=-1000", weights=SENTINEL2)
    assert chosen.center == pytest.approx([1001.0, 1002.0, 1003.0, 1000.0])


def test_auto_leaves_the_train_splits_statistics_to_bands_that_the_weights_do_not_know(compose: Compose) -> None:
    chosen = choose(compose, "data.scale=255", weights=IMAGENET)
    assert chosen.center == pytest.approx([0.406 * 255, 0.456 * 255, 0.485 * 255, 3000.0])
    assert chosen.spread == pytest.approx([0.225 * 255, 0.224 * 255, 0.229 * 255, 400.0])
    assert chosen.origin == ["weights", "weights", "weights", "dataset"]


@pytest.mark.parametrize(
    ("weights", "overrides"),
    [
        (IMAGENET, ["data.scale=10000"]),  # reflectance is no photograph
        (SENTINEL2, ["data.scale=255"]),
        (WeightStatistics(("VV",), (0.0,), (1.0,), "scaled"), []),
    ],
)
def test_auto_takes_the_train_splits_statistics_where_the_weights_are_of_other_numbers(
    compose: Compose, weights: WeightStatistics, overrides: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "terrablate")
    assert choose(compose, *overrides, weights=weights) == choose(compose, "data.normalize=dataset")
    assert "the train split's statistics are taken" in caplog.text


@pytest.mark.parametrize("choice", ["dataset", "imagenet", "minmax", "percentile", "none"])
def test_a_choice_other_than_auto_does_not_ask_the_weights(compose: Compose, choice: str) -> None:
    assert choose(compose, f"data.normalize={choice}", weights=SENTINEL2) == choose(compose, f"data.normalize={choice}")


def test_the_choice_is_told_for_the_record(compose: Compose) -> None:
    assert choose(compose, "data.normalize=minmax").plain() == {
        "kind": "minmax",
        "bands": BANDS,
        "center": STATISTICS.min,
        "spread": [9000.0, 8000.0, 7000.0, 6000.0],
        "origin": ["minmax"] * 4,
    }
