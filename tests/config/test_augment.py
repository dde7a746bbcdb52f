"""Mistakes in a recipe of augmentations are told before anything is read."""

from collections.abc import Callable

import pytest

from terrablate.config import Config
from terrablate.config.checks.augment import rgb_positions
from terrablate.config.choices import choices
from terrablate.config.identity import Hardware, identity
from terrablate.errors import ConfigError

type Compose = Callable[..., Config]

REFUSED = {
    "aug=flip aug.strength=3": "aug.strength=3: it takes aug.operations.0.horizontal to 1.5; expected a number from 0",
    "aug=crop aug.strength=2": "aug.strength=2: it takes aug.operations.0.area.0 to 0; expected a number greater than",
    "aug=all aug.strength=2.5": "aug.strength=2.5: it takes aug.operations.0.p to 1.25; expected a number from 0 to 1",
    "aug=trivial aug.strength=2": "aug.strength=2: it takes aug.operations.0.magnitude to 2; expected a number from 0",
    "aug=none aug.strength=0.5": "aug.strength=0.5: aug=none has no operations to scale",
    "aug=flip aug.strength=-1": "aug.strength=-1: expected a number of at least 0",
    "aug.operations=[{op:crop,area:[0.9,0.5]}]": "aug.operations.0.area=[0.9, 0.5]: the first must not be above",
    "aug.operations=[{op:erase,ratio:[2,1]}]": "aug.operations.0.ratio=[2.0, 1.0]: the first must not be above",
    "aug.operations=[{op:crop,area:[0,0.5]}]": "aug.operations.0.area.0=0: expected a number greater than 0",
    "aug.operations=[{op:crop,area:[0.5]}]": "aug.operations.0.area=[0.5]: expected a list of 2, each a number",
    "aug.operations=[{op:rotate,degrees:181}]": "aug.operations.0.degrees=181: expected a number from 0 to 180",
    "aug.operations=[{op:randaug,operations:[]}]": "aug.operations.0.operations=[]: expected a list of some of ident",
    "aug.operations=[{op:randaug,operations:[hue]}]": "aug.operations.0.operations.0=hue: expected one of identity, ",
    "aug.operations=[{op:mixup},{op:flip}]": "aug.operations.0.op=mixup: pairs are mixed after all changes of single",
    "aug=mixup batch_size=1 norm=none": "batch_size=1: aug=mixup mixes pairs of images; use at least 2",
    "aug=band_drop data.bands=B04": "aug.operations.0: band_drop never drops the only band",
    "aug=color aug.operations.0.hue=0.1": "aug.operations.0.hue=0.1: it is defined for red, green and blue only",
    "aug=color aug.operations.0.saturation=0.1 data.bands=[B04,B03]": "aug.operations.0.saturation=0.1: it is defined",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_work_is_refused_with_its_key(compose: Compose, overrides: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        compose(*overrides.split())
    assert str(refusal.value).startswith(REFUSED[overrides])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("bands", ["rgb", "[B02,B03,B04]"])
def test_hue_is_allowed_where_the_bands_are_red_green_and_blue_in_any_order(compose: Compose, bands: str) -> None:
    compose("aug=color", "aug.operations.0.hue=0.1", f"data.bands={bands}")


@pytest.mark.parametrize("recipe", [choice.name for choice in choices("aug") if choice.name != "none"])
def test_every_recipe_has_a_strength(compose: Compose, recipe: str) -> None:
    assert compose(f"aug={recipe}", "aug.strength=0.3").aug.strength == 0.3


def test_the_probability_of_mixing_ends_at_1_where_alpha_grows_on(compose: Compose) -> None:
    operation = compose("aug=mixup", "aug.strength=2").aug.operations[0].scaled(2)
    assert (operation.p, operation.alpha) == (1.0, 0.4)


def test_strength_is_part_of_the_identity_and_neutral_at_1(compose: Compose) -> None:
    cpu = Hardware("cpu", 1, "32", 1)
    plain, same, weaker = (
        identity(compose("aug=flip", *more), "data", None, cpu)
        for more in ([], ["aug.strength=1.0"], ["aug.strength=0.5"])
    )
    assert plain == same != weaker


@pytest.mark.parametrize(
    ("bands", "rgb", "expected"),
    [
        (["red", "green", "blue"], None, (0, 1, 2)),
        (["B02", "B03", "B04"], ["B04", "B03", "B02"], (2, 1, 0)),
        (["B02", "B03", "B04", "B08"], ["B04", "B03", "B02"], None),
        (["B04", "B03"], ["B04", "B03", "B02"], None),
        (["band1", "band2", "band3"], None, None),
    ],
)
def test_positions_of_red_green_and_blue(
    bands: list[str], rgb: list[str] | None, expected: tuple[int, int, int] | None
) -> None:
    assert rgb_positions(bands, rgb) == expected
