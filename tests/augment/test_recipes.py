"""Recipes as the config names them: any bands, one seed, strength, and every parameter of every operation."""

import inspect
from dataclasses import asdict, fields
from typing import Any, get_args

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from augment_inputs import BANDS, each_differs, generator, images_of, spread_of
from terrablate.augment.affine import warp
from terrablate.augment.color import color
from terrablate.augment.flip import flip
from terrablate.augment.pipeline import AFFINE_OPERATIONS, MIXING_OPERATIONS, OPERATIONS, Augmentation
from terrablate.augment.rotate import rotate
from terrablate.augment.translate import translate
from terrablate.config.choices import choices
from terrablate.config.schema import Color, Flip, Operation
from terrablate.config.schema.augment import Aug, BandDrop, Mixup, Noise, Rotate, Translate
from terrablate.errors import ConfigError

FILES = {choice.name: choice.path for choice in choices("aug")}
RECIPES = [name for name in FILES if name != "none"]
MIXING = ["mixup", "cutmix"]
SECTIONS = {get_args(kind.__annotations__["op"])[0]: kind for kind in get_args(get_args(Operation)[0])}


def recipe(name: str) -> Aug:
    return TypeAdapter(Aug).validate_python(yaml.safe_load(FILES[name].read_text(encoding="utf-8")))


def augmentation(aug: Aug, bands: int, strength: float | None = None) -> Augmentation:
    strength = aug.strength if strength is None else strength
    return Augmentation(aug.operations, spread_of(bands), torch.linspace(0.5, 1, bands), strength=strength)


def applied(augment: Augmentation, images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """Images as they are augmented and mixed, with the label of each image as a further column of pixels."""
    mixed, labels = augment.mix(augment(images, draws), torch.eye(len(images), dtype=images.dtype), draws)
    return torch.cat([mixed.flatten(1), labels], 1)


# --- every recipe


@pytest.mark.parametrize(
    ("name", "bands"), [(name, bands) for name in RECIPES for bands in BANDS if (name, bands) != ("band_drop", 1)]
)
def test_a_recipe_changes_images_alike_under_one_seed_and_leaves_the_batch_itself_alone(name: str, bands: int) -> None:
    augment = augmentation(recipe(name), bands)
    images = images_of(16, bands, side=16)
    original = images.clone()
    first = applied(augment, images, generator(5))
    assert torch.equal(images, original)
    assert torch.isfinite(first).all()
    assert torch.equal(first, applied(augment, images, generator(5)))
    assert not torch.equal(first, applied(augment, images, generator(6)))
    assert not torch.equal(first[:, : images[0].numel()], images.flatten(1))


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in MIXING])
def test_images_that_are_alike_come_out_different(name: str) -> None:
    images = images_of(1, 13, side=16).expand(200, -1, -1, -1)
    changed = augmentation(recipe(name), 13)(images, generator())
    kinds = {tuple(image.flatten().tolist()) for image in changed}
    assert len(kinds) >= {"flip": 4, "rotate90": 8, "erase": 50, "band_drop": 30, "blur": 100}.get(name, 150)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_shape_and_layout_do_not_matter_to_what_is_given(name: str, dtype: torch.dtype) -> None:
    augment = augmentation(recipe(name), 4).to(dtype)
    images = images_of(8, 4, side=16).to(dtype)
    expected = augment(images, generator())
    assert expected.dtype == dtype
    assert expected.shape == images.shape
    layouts = {
        "channels last": images.contiguous(memory_format=torch.channels_last),
        "strided": images.repeat_interleave(2, 0)[::2],
        "transposed": images.mT.contiguous().mT,
    }
    for layout in layouts.values():
        torch.testing.assert_close(augment(layout, generator()), expected)


@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_of_one_works(name: str) -> None:
    image = images_of(1, 13, side=16)
    changed = applied(augmentation(recipe(name), 13), image, generator(1))
    assert changed.shape == (1, image.numel() + 1)
    assert changed[0, -1] == 1
    if name in MIXING:
        assert torch.equal(changed[:, :-1], image.flatten(1))


@pytest.mark.parametrize("name", RECIPES)
def test_automatic_mixed_precision_changes_nothing(name: str) -> None:
    augment, images = augmentation(recipe(name), 4), images_of(8, 4, side=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        changed = applied(augment, images, generator())
    assert torch.equal(changed, applied(augment, images, generator()))


def test_no_recipe_is_the_identity_and_draws_nothing() -> None:
    augment = augmentation(recipe("none"), 3)
    images, targets, draws = images_of(4, 3), torch.eye(4), generator()
    assert augment(images, draws) is images
    assert augment.mix(images, targets, draws) == (images, targets)
    assert not augment.mixes
    assert torch.equal(draws.get_state(), generator().get_state())


# --- strength


@pytest.mark.parametrize("name", RECIPES)
def test_strength_0_is_the_identity_bit_for_bit_and_draws_nothing(name: str) -> None:
    augment = augmentation(recipe(name), 13, strength=0.0)
    images, targets, draws = images_of(4, 13, side=16), torch.eye(4), generator()
    assert augment(images, draws) is images
    assert augment.mix(images, targets, draws)[0] is images
    assert not augment.mixes
    assert torch.equal(draws.get_state(), generator().get_state())


@pytest.mark.parametrize("name", RECIPES)
def test_strength_1_is_the_recipe_as_it_is_written(name: str) -> None:
    for operation in recipe(name).operations:
        assert operation.scaled(1) == operation


@pytest.mark.parametrize("name", RECIPES)
def test_strength_scales_a_recipe_continuously(name: str) -> None:
    aug, images = recipe(name), images_of(300, 4, side=16)
    before = torch.cat([images.flatten(1), torch.eye(300)], 1)
    off = []
    for strength in (0.001, 0.2, 0.5, 1.0):
        after = applied(augmentation(aug, 4, strength), images, generator(2))
        off.append((after - before).abs().mean().item())
    assert 0 <= off[0] < off[1] < off[2] < off[3]
    assert off[0] < 0.05 * off[-1]


@pytest.mark.parametrize("kind", SECTIONS.values(), ids=SECTIONS)
def test_strength_acts_on_every_operation(kind: type[Any]) -> None:
    operation = kind(op=get_args(kind.__annotations__["op"])[0])
    assert operation.acts
    assert operation.scaled(0.5) != operation
    assert operation.scaled(0.5).acts
    assert not operation.scaled(0).acts
    assert Augmentation([operation], spread_of(3), spread_of(3))._groups or operation.op in MIXING


# --- every parameter


KNOBS: dict[str, list[dict[str, Any]]] = {
    "flip": [{"horizontal": 1.0}, {"vertical": 1.0}],
    "color": [{name: 0.3} for name in ("brightness", "contrast", "band_gain", "haze", "gamma", "band_offset")]
    + [{"saturation": 0.3}, {"hue": 0.3}],
    "rotate90": [{"p": 0.5}],
    "rotate": [{"degrees": 40}],
    "crop": [{"area": [0.2, 1.0]}, {"area": [0.5, 0.6]}, {"ratio": [1.0, 4 / 3]}, {"ratio": [0.75, 1.0]}],
    "translate": [{"fraction": 0.3}],
    "noise": [{"sigma": 0.3}, {"random_sigma": False}],
    "blur": [{"sigma": 2.0}],
    "erase": [
        {"p": 1.0}, {"area": [0.2, 0.33]}, {"area": [0.02, 0.2]}, {"ratio": [1.0, 3.3]}, {"ratio": [0.3, 1.0]},
        {"fill": "noise"},
    ],
    "band_drop": [{"p": 0.5}],
    "randaug": [{"n": 3}, {"magnitude": 0.9}, {"operations": ["rotate"]}],
    "trivial": [{"magnitude": 0.5}, {"operations": ["rotate"]}],
    "mixup": [{"alpha": 2.0}, {"p": 0.5}],
    "cutmix": [{"alpha": 0.2}, {"p": 1.0}],
}  # fmt: skip


def test_every_parameter_of_every_operation_is_tried_below() -> None:
    expected = {op: {field.name for field in fields(kind)} - {"op"} for op, kind in SECTIONS.items()}
    assert {op: {name for change in changes for name in change} for op, changes in KNOBS.items()} == expected


@pytest.mark.parametrize(("op", "change"), [(op, change) for op, changes in KNOBS.items() for change in changes])
def test_each_parameter_changes_what_comes_out(op: str, change: dict[str, Any]) -> None:
    results = []
    for parameters in ({}, change):
        operation = SECTIONS[op](op=op, **parameters)
        augment = Augmentation([operation], spread_of(3), spread_of(3), rgb=(0, 1, 2))
        results.append(applied(augment, images_of(16, 3, side=16), generator(3)))
    assert not torch.allclose(*results)


NEUTRAL = {
    "flip": {"horizontal": 0, "vertical": 0},
    "color": {field.name: 0 for field in fields(Color) if field.name != "op"},
    "rotate90": {"p": 0},
    "rotate": {"degrees": 0},
    "crop": {"area": [1, 1], "ratio": [1, 1]},
    "translate": {"fraction": 0},
    "noise": {"sigma": 0},
    "blur": {"sigma": 0},
    "erase": {"p": 0},
    "band_drop": {"p": 0},
    "randaug": {"magnitude": 0},
    "trivial": {"magnitude": 0},
    "mixup": {"alpha": 0},
    "cutmix": {"p": 0},
}


@pytest.mark.parametrize("op", OPERATIONS)
def test_neutral_parameters_leave_images_and_labels_bit_for_bit(op: str) -> None:
    augment = Augmentation([SECTIONS[op](op=op, **NEUTRAL[op])], spread_of(3), spread_of(3))
    images, targets = images_of(4, 3), torch.eye(4)
    assert torch.equal(augment(images, generator()), images)
    mixed, labels = augment.mix(images, targets, generator())
    assert torch.equal(mixed, images)
    assert torch.equal(labels, targets)
    assert not augment.mixes


def test_the_config_has_every_parameter_of_every_operation_with_its_default() -> None:
    assert set(OPERATIONS) == set(SECTIONS)
    given = {"images", "generator", "spread", "center", "rgb", "targets"}
    for op, kind in SECTIONS.items():
        parameters = inspect.signature(OPERATIONS[op]).parameters
        ours = {name: parameter.default for name, parameter in parameters.items() if name not in given}
        theirs = {name: value for name, value in asdict(kind(op=op)).items() if name != "op"}
        ours = {name: list(value) if isinstance(value, tuple) else value for name, value in ours.items()}
        assert theirs == ours, op


# --- how operations are put together


def test_operations_run_in_their_order_with_their_parameters() -> None:
    operations: list[Any] = [Flip(op="flip", horizontal=1.0, vertical=0.0), Color(op="color", haze=0.4)]
    images, draws = images_of(4, 3), generator(1)
    expected = color(flip(images, draws, 1.0, 0.0), draws, spread_of(3), haze=0.4)
    assert torch.equal(Augmentation(operations, spread_of(3))(images, generator(1)), expected)


def test_neighbouring_affine_operations_share_one_interpolation_in_their_order() -> None:
    turn, shift = Rotate(op="rotate", degrees=90), Translate(op="translate", fraction=0.4)
    noise = Noise(op="noise", sigma=0.0)  # does nothing, and does not stand between them
    images, draws = images_of(4, 3, side=16), generator(1)
    expected = warp(images, rotate(images, draws, 90) @ translate(images, draws, 0.4))
    assert torch.equal(Augmentation([turn, noise, shift], spread_of(3))(images, generator(1)), expected)
    mirrored = Augmentation([turn, Flip(op="flip"), shift], spread_of(3))(images, draws := generator(1))
    again = generator(1)
    one = warp(images, rotate(images, again, 90))
    assert torch.equal(mirrored, warp(flip(one, again), translate(images, again, 0.4)))
    assert torch.equal(draws.get_state(), again.get_state())


def test_every_operation_is_of_one_kind() -> None:
    assert not AFFINE_OPERATIONS.keys() & MIXING_OPERATIONS.keys()
    assert set(MIXING_OPERATIONS) == set(MIXING)


@pytest.mark.parametrize("name", MIXING)
def test_mixing_recipes_say_so_and_leave_single_images_alone(name: str) -> None:
    augment = augmentation(recipe(name), 3)
    images = images_of(8, 3)
    assert augment.mixes
    assert augment(images, generator()) is images


def test_several_mixing_operations_carry_the_labels_on() -> None:
    operations: list[Any] = [Mixup(op="mixup", alpha=1.0), SECTIONS["cutmix"](op="cutmix", p=1.0)]
    images = torch.eye(32).view(32, 32, 1, 1).expand(-1, -1, 8, 8)  # band n is the share of image n
    mixed, labels = Augmentation(operations, spread_of(32)).mix(images, torch.eye(32), generator())
    torch.testing.assert_close(mixed.mean((2, 3)), labels)
    assert ((labels > 0).sum(1) > 2).any()


def test_measures_are_not_part_of_the_weights_and_move_with_the_module() -> None:
    augment = Augmentation([], spread_of(3), spread_of(3))
    assert augment.state_dict() == {}
    assert {buffer.dtype for buffer in augment.double().buffers()} == {torch.float64}


def test_missing_bands_need_the_mean_of_the_training_data_and_several_bands() -> None:
    operation = BandDrop(op="band_drop")
    with pytest.raises(ValueError, match="give center"):
        Augmentation([operation], spread_of(3))
    with pytest.raises(ConfigError, match=r"aug.operations.0: band_drop never drops the only band"):
        Augmentation([operation], spread_of(1), spread_of(1))


def test_hue_without_red_green_and_blue_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"aug.operations.0.hue=0.1: it is defined for red, green and blue only"):
        Augmentation([Color(op="color", hue=0.1)], spread_of(3))


def test_images_come_out_different_where_each_draws_a_number_of_its_own() -> None:
    images = images_of(1, 4, side=16).expand(50, -1, -1, -1)
    assert each_differs(augmentation(recipe("all"), 4)(images, generator()))
