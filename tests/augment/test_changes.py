"""RandAugment and TrivialAugment: all changes equally likely, magnitudes as asked for."""

from typing import Any

import pytest
import torch

from augment_inputs import BANDS, generator, images_of, smooth_images, spread_of
from terrablate.augment import affine, changes
from terrablate.augment.draws import on_host
from terrablate.augment.randaug import randaug
from terrablate.augment.trivial import trivial
from terrablate.config.schema.augment import CHANGES, Change

OTHERS = [change for change in CHANGES if change != "identity"]


def change(name: Change, images: torch.Tensor, level: torch.Tensor, largest: float = 1.0) -> torch.Tensor:
    return changes.changed(name, images, level, largest, generator(1), spread_of(images.shape[1]))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("bands", BANDS)
def test_every_change_turns_with_its_level_for_each_image_and_keeps_it_at_level_0(name: Change, bands: int) -> None:
    images = smooth_images(1, bands, 24).expand(5, -1, -1, -1)
    changed = change(name, images, torch.tensor([0.0, 0.1, 1.0, -0.1, -1.0]))
    off = (changed - images).abs().mean((1, 2, 3))
    assert off[0] < 1e-5
    assert 0 < off[1] < off[2]
    assert 0 < off[3] < off[4]


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("noise", "blur", "band_gain")])
def test_a_change_of_negative_level_goes_the_other_way(name: Change) -> None:
    images = smooth_images(1, 1, 32).expand(2, -1, -1, -1)
    up, down = change(name, images, torch.tensor([0.1, -0.1])) - images
    inside = (slice(None), slice(6, -6), slice(6, -6))
    assert torch.stack([up[inside].flatten(), down[inside].flatten()]).corrcoef()[0, 1] < -0.9


def test_photometric_changes_are_their_formulas() -> None:
    images, level = images_of(3, 4), torch.tensor([0.2, -0.5, 1.0])
    factor = level.view(-1, 1, 1, 1)
    mean = images.mean((2, 3), keepdim=True)
    expected = {
        "brightness": images * (1 + 0.5 * factor),
        "contrast": mean + (images - mean) * (1 + 0.5 * factor),
        "gamma": mean * (images / mean) ** (1 + 0.5 * factor),
        "haze": images + factor * spread_of(4).view(-1, 1, 1),
    }
    for name, values in expected.items():
        torch.testing.assert_close(change(name, images, level), values)  # type: ignore[arg-type]


def test_geometric_changes_are_the_maps_that_they_name() -> None:
    images, level, none = images_of(2, 3, side=12), torch.tensor([1.0, -0.5]), torch.zeros(2)
    expected = {
        "rotate": affine.rotated(level * torch.pi / 6, 12, 12),
        "shear_x": affine.sheared(level * 0.3, none, 12, 12),
        "shear_y": affine.sheared(none, level * 0.3, 12, 12),
        "translate_x": affine.translated(level * 0.3, none),
        "translate_y": affine.translated(none, level * 0.3),
    }
    for name, matrix in expected.items():
        torch.testing.assert_close(change(name, images, level), affine.warp(images, matrix))  # type: ignore[arg-type]


@pytest.mark.parametrize("largest", [0.5, 1.0, 1.99])
def test_factors_and_exponents_stay_above_0(largest: float) -> None:
    images = images_of(2, 3)
    for name in ("brightness", "band_gain", "gamma"):
        assert (change(name, images, torch.tensor([-largest, largest]), largest) > 0).all()  # type: ignore[arg-type]


# --- what is drawn


def test_randaug_and_trivial_choose_all_changes_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: dict[str, int] = dict.fromkeys(CHANGES, 0)

    def counted(name: str, images: torch.Tensor, *rest: object) -> torch.Tensor:
        chosen[name] += len(images)
        return images

    monkeypatch.setattr(changes, "changed", counted)
    images, draws = images_of(13000, 1, side=2), generator()
    randaug(images, draws, spread_of(1), n=2)
    assert sum(chosen.values()) == 26000
    assert all(1850 < count < 2150 for count in chosen.values())
    chosen.update(dict.fromkeys(CHANGES, 0))
    trivial(images, draws, spread_of(1))
    assert sum(chosen.values()) == 13000
    assert all(880 < count < 1120 for count in chosen.values())


def test_each_image_comes_back_at_its_own_place() -> None:
    images = torch.arange(1.0, 101).view(-1, 1, 1, 1).expand(-1, 2, 4, 4)
    changed = randaug(images, generator(), spread_of(2), 3, 0.5, ["identity", "brightness", "translate_x"])
    ratio = changed[:, 0, 0, 0] / images[:, 0, 0, 0]
    possible = torch.tensor([a * b * c for a in (0.75, 1, 1.25) for b in (0.75, 1, 1.25) for c in (0.75, 1, 1.25)])
    assert ((ratio[:, None] - possible).abs().amin(1) < 1e-4).all()
    assert len(ratio.round(decimals=3).unique()) > 5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_randaug_applies_n_changes_of_one_magnitude_in_either_direction(n: int) -> None:
    images = torch.zeros(2000, 1, 2, 2)
    shift = randaug(images, generator(), torch.ones(1), n, 0.4, ["haze"])[:, 0, 0, 0]
    found, often = shift.round(decimals=4).unique(return_counts=True)
    torch.testing.assert_close(found, torch.arange(-n, n + 1, 2) * 0.4)
    assert often[-1] == pytest.approx(2000 / 2**n, rel=0.25)


def test_the_magnitude_of_trivial_is_uniform_up_to_the_largest() -> None:
    shift = trivial(torch.zeros(5000, 1, 2, 2), generator(), torch.ones(1), 0.6, ["haze"])[:, 0, 0, 0]
    assert shift.abs().max() <= 0.6
    assert shift.abs().mean().item() == pytest.approx(0.3, abs=0.01)
    assert shift.mean().item() == pytest.approx(0, abs=0.02)


def test_what_to_choose_from_turns() -> None:
    images = images_of(50, 3)
    assert torch.equal(randaug(images, generator(), spread_of(3), operations=["identity"]), images)
    only = randaug(images, generator(), spread_of(3), 1, 1.0, operations=["brightness"])
    ratio = (only / images).flatten(1)
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio))
    assert set(ratio[:, 0].round(decimals=3).tolist()) == {0.5, 1.5}


class GeneratorOfGpu:
    """As far as it is asked: a seed and a place in the stream, both kept by the host."""

    device = torch.device("cuda")

    def __init__(self, seed: int, offset: int) -> None:
        self.initial_seed, self.get_offset = lambda: seed, lambda: offset


def drawn(seed: int, offset: int) -> list[int]:
    generator: Any = GeneratorOfGpu(seed, offset)
    assert on_host(generator).device.type == "cpu"
    return torch.randint(100, (8,), generator=on_host(generator)).tolist()


def test_what_the_host_must_know_is_drawn_there() -> None:
    own = torch.Generator().manual_seed(3)
    assert on_host(own) is own
    assert drawn(3, 4) == drawn(3, 4)  # a resumed run draws the same
    assert len({tuple(drawn(seed, offset)) for seed in (3, 5, 2**63 - 2) for offset in (0, 4, 8)}) == 9
