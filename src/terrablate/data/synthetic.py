"""A procedural source of Sentinel-2-like chips with EuroSAT's bands and classes: data for tests and sanity checks."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from terrablate.data.scenes import (
    BANDS,
    MARGIN,
    ROOFS,
    Floats,
    Labels,
    Scene,
    add_details,
    cells,
    compact,
    crop_spectra,
    jittered_materials,
    meander,
    observe,
    parcels,
    rotated_axes,
    soft,
)
from terrablate.data.source import SPLITS, Sample, Split
from terrablate.errors import ConfigError, DataError

__all__ = ["BANDS", "CLASSES", "LAYOUTS", "RGB", "SyntheticDataset", "SyntheticSource", "generate_chip"]

RGB = ("B04", "B03", "B02")
"""Bands of a true-colour picture."""

MIN_SIZE = 16


def _farmland_details(scene: Scene, edge: Floats) -> None:
    """What annual and permanent crops share: in half of the scenes balks along the parcels' edges, tracks, trees."""
    if scene.chance(0.5):
        scene.paint(scene.uniform(0.3, 0.9) * soft(edge - 0.7), scene.blend(("grass", "dry_grass", "bright_soil"), 0.5))
    add_details(scene, track=0.35, copse=0.3, hamlet=0.25)


def _annual_crop(scene: Scene) -> None:
    """Large straight-edged fields, each of one colour, some with faint marks of the plough."""
    rng = scene.rng
    u, v = rotated_axes(rng, scene.size)
    u = u + np.float32(scene.uniform(-0.25, 0.25)) * v
    labels, edge = parcels(rng, u, v, scene.uniform(12, 42), scene.uniform(22, 90), 0.6)
    labels, count = compact(labels)
    scene.fill(crop_spectra(scene, count), labels)
    marks = (rng.random(count) * 0.13 * (rng.random(count) < 0.6)).astype(np.float32)
    furrows = np.sin(np.where((rng.random(count) < 0.7)[labels], u, v) * np.float32(2 * np.pi / scene.uniform(3, 7)))
    scene.shade(1 + marks[labels] * furrows + np.float32(scene.uniform(0.02, 0.09)) * scene.noise(4, slope=1.5))
    _farmland_details(scene, edge)


def _permanent_crop(scene: Scene) -> None:
    """Parcels of vines and orchards: rows or dots of canopy above soil or grass, at 3 to 6 pixels' distance."""
    rng = scene.rng
    u, v = rotated_axes(rng, scene.size)
    if scene.chance(0.5):
        u = u + np.float32(scene.uniform(2, 9)) * np.sin(v * np.float32(2 * np.pi / scene.uniform(60, 150)))
    labels, edge = parcels(rng, u, v, scene.uniform(11, 34), scene.uniform(16, 70), 0.6)
    labels, count = compact(labels)
    scene.fill(crop_spectra(scene, count), labels)
    rate = (2 * np.pi / (scene.uniform(3.0, 5.5) * rng.uniform(0.85, 1.2, count))).astype(np.float32)[labels]
    turned = (rng.random(count) < 0.4)[labels]
    along, across = np.where(turned, u, v) * rate, np.where(turned, v, u) * rate
    dotted = (rng.random(count) < rng.choice([0.0, 0.5, 1.0]))[labels]
    stems = 0.5 + 0.5 * np.sin(across) * np.where(dotted, np.sin(along), np.float32(1))
    share = (rng.uniform(0.25, 0.85, count) * (rng.random(count) < 0.8)).astype(np.float32)[labels]
    gaps = 1 + np.float32(scene.uniform(0.1, 0.4)) * scene.noise(2, slope=1.5)
    canopy = scene.blend(("shrub", "broadleaf", "green_crop", "autumn_leaf"), 0.6)
    if scene.chance(0.25):
        canopy = scene.soil()  # a closed stand seen between its bare rows
    scene.paint(np.clip(share * stems * gaps, 0, 1), canopy)
    _farmland_details(scene, edge)


def _pasture(scene: Scene) -> None:
    """Irregular meadows of one sward with hedges between them and single trees."""
    rng = scene.rng
    u, v = rotated_axes(rng, scene.size)
    warp = np.float32(scene.uniform(0.5, 2.5)) * scene.noise(8, slope=3)
    labels, edge = cells(rng, u + warp, (v - warp) * np.float32(scene.uniform(0.6, 1)), scene.uniform(12, 30))
    labels, count = compact(labels)
    sward = scene.blend(("grass", "green_crop", "broadleaf", "shrub"), 0.7)
    dry = scene.blend(("dry_grass", "senescent_crop", "bright_soil", "dark_soil"), 0.7)
    share = np.clip(rng.normal(scene.season, scene.uniform(0.05, 0.3), (count, 1)), 0, 1)
    scene.fill((sward + share * (dry - sward)) * np.exp(rng.normal(0, 0.08, (count, 1))), labels)
    scene.shade(1 + np.float32(scene.uniform(0.03, 0.12)) * scene.noise(5, slope=1.6))
    trees = scene.blend(("conifer", "broadleaf", "shrub"), 0.6)
    kept = (rng.random(count) < scene.uniform(0.5, 1.0))[labels]
    scene.paint(np.float32(scene.uniform(0.4, 0.95)) * kept * soft(edge - scene.uniform(0.4, 1.0)), trees)
    single = scene.noise(0.8, slope=3) - np.float32(scene.uniform(2.0, 3.2))
    scene.paint(np.float32(0.9) * soft(-single * 3), trees)
    add_details(scene, track=0.3, copse=0.25, hamlet=0.2)


def _herbaceous(scene: Scene) -> None:
    """Open land without any parcels: patches of herbs, shrubs and bare ground, often drawn out along a slope."""
    angle = scene.uniform(0, np.pi)
    stretch = scene.uniform(1, 4) if scene.chance(0.6) else 1.0
    patches = scene.noise(scene.uniform(3, 14), slope=scene.uniform(1.3, 2.2), stretch=stretch, angle=angle)
    scrub = scene.noise(scene.uniform(1, 4), slope=1.6)
    herbs = scene.blend(("grass", "green_crop", "shrub"), 0.7)
    herbs = herbs + np.float32(scene.season) * (scene.blend(("dry_grass", "senescent_crop", "shrub"), 0.7) - herbs)
    scene.image += herbs[:, None, None]
    softness = scene.uniform(0.3, 1.5)
    scene.paint(np.float32(scene.uniform(0.2, 1)) * soft(scene.uniform(-0.6, 2) - patches, softness), scene.soil())
    bushes = scene.blend(("shrub", "conifer", "broadleaf"), 0.6)
    scene.paint(np.float32(scene.uniform(0.2, 0.9)) * soft(scene.uniform(-0.2, 2) - scrub, 0.8), bushes)
    relief = scene.noise(6, slope=2, stretch=stretch, angle=angle)
    scene.shade(1 + np.float32(scene.uniform(0.02, 0.14)) * relief)
    add_details(scene, track=0.35, copse=0, hamlet=0.1)


def _forest(scene: Scene) -> None:
    """Closed canopy: grain of crowns, stands of conifers and broadleaves, slopes, now and then a clearing."""
    stands = scene.noise(scene.uniform(4, 12), slope=scene.uniform(1.5, 3))
    trees = scene.blend(("conifer", "broadleaf", "shrub"), 0.5)
    other = scene.blend(("broadleaf", "autumn_leaf", "conifer"), 0.6)
    scene.image += trees[:, None, None]
    scene.paint(soft(scene.uniform(-1, 2) - stands, scene.uniform(0.2, 1)), other)
    crowns = scene.noise(scene.uniform(0.6, 1.3), slope=2)
    slopes = scene.noise(7, slope=2)
    strength = np.float32(scene.uniform(0.08, 0.22))
    scene.shade(scene.uniform(0.75, 1.1) + strength * crowns + np.float32(scene.uniform(0, 0.15)) * slopes)
    if scene.chance(0.35):
        clearing = soft((scene.uniform(1.0, 2.2) - scene.noise(5, slope=3)) * 3)
        scene.paint(clearing, scene.blend(("grass", "dry_grass", "bright_soil", "green_crop"), 0.5))
    add_details(scene, track=0.35, copse=0, hamlet=0)


def _roofs(scene: Scene, labels: Labels, edge: Floats, count: int, *, built: float, yards: Floats) -> None:
    """Fill numbered plots with yards (count, 13), and put a roof with a shadow beside it on the share `built`."""
    rng = scene.rng
    shares = rng.dirichlet([0.8, 0.8, 0.6, 0.25])
    roofs = np.stack([scene.materials[name] for name in ROOFS])[rng.choice(len(ROOFS), count, p=shares)]
    roofs = roofs * np.exp(rng.normal(0, 0.15, (count, 1))).astype(np.float32)
    scene.fill(yards, labels)
    cover = soft(scene.uniform(0.4, 0.9) - edge, 0.6) * (rng.random(count) < built)[labels]
    shadow = np.roll(cover, rng.integers(-1, 2, 2), axis=(0, 1)) * (1 - cover)
    scene.shade(1 - np.float32(scene.uniform(0.2, 0.6)) * shadow)
    scene.image += cover * (np.take(roofs.T, labels, axis=1) - scene.image)


def _yards(scene: Scene, count: int) -> Floats:
    """Spectra (count, 13) of the ground between buildings: a random mixture of gardens, trees and sealed ground."""
    names = ("grass", "dry_grass", "broadleaf", "asphalt", "concrete", "dark_soil")
    mixture = scene.rng.dirichlet([0.6] * len(names))
    chosen = scene.rng.choice(len(names), count, p=mixture)
    return np.stack([scene.materials[name] for name in names])[chosen] * np.float32(0.9)


def _residential(scene: Scene) -> None:
    """Small houses with gardens in rows along narrow streets."""
    rng = scene.rng
    u, v = rotated_axes(rng, scene.size)
    bend = np.float32(scene.uniform(0, 5)) * np.sin(v * np.float32(2 * np.pi / scene.uniform(50, 120)))
    labels, edge = parcels(rng, u + bend, v, scene.uniform(2.8, 4.6), scene.uniform(3.2, 6), 0.3)
    labels, count = compact(labels)
    _roofs(scene, labels, edge, count, built=scene.uniform(0.35, 0.85), yards=_yards(scene, count))
    _, street = parcels(rng, u + bend, v, scene.uniform(9, 18), scene.uniform(20, 50), 0.35)
    scene.paint(np.float32(scene.uniform(0.4, 0.9)) * soft(street - 0.7), scene.blend(("asphalt", "concrete"), 0.6))
    _built_surroundings(scene)


def _industrial(scene: Scene) -> None:
    """Large halls with ribbed roofs on sealed or green plots."""
    rng = scene.rng
    u, v = rotated_axes(rng, scene.size)
    labels, edge = parcels(rng, u, v, scene.uniform(7, 17), scene.uniform(9, 28), 0.55)
    labels, count = compact(labels)
    _roofs(scene, labels, edge, count, built=scene.uniform(0.4, 0.85), yards=_yards(scene, count))
    ribs = np.sin(v * np.float32(2 * np.pi / scene.uniform(2.5, 5)))
    scene.shade(1 + np.float32(scene.uniform(0, 0.12)) * ribs + np.float32(0.08) * scene.noise(1, slope=2))
    _, street = parcels(rng, u, v, scene.uniform(20, 45), scene.uniform(30, 70), 0.4)
    scene.paint(np.float32(scene.uniform(0.4, 0.9)) * soft(street - 1), scene.blend(("asphalt", "concrete"), 0.6))
    _built_surroundings(scene)


def _built_surroundings(scene: Scene) -> None:
    """Parks, wasteland and fields at the border of built-up land, in a third of scenes a large part of it."""
    if scene.chance(0.6):
        open_land = soft((scene.uniform(-0.2, 2) - scene.noise(scene.uniform(5, 12), slope=3)) * 4)
        scene.paint(open_land, scene.blend(("grass", "broadleaf", "dry_grass", "bright_soil", "green_crop"), 0.4))


_BACKGROUNDS: tuple[tuple[Callable[[Scene], None], float], ...] = (
    (_annual_crop, 0.26),
    (_permanent_crop, 0.16),
    (_pasture, 0.2),
    (_herbaceous, 0.14),
    (_forest, 0.12),
    (_residential, 0.08),
    (_industrial, 0.04),
)


def _background(scene: Scene) -> None:
    """Any land, as roads and rivers cross it: this is why the colour of the land says little about them."""
    layouts, weights = zip(*_BACKGROUNDS, strict=True)
    layouts[scene.rng.choice(len(layouts), p=weights)](scene)


def _highway(scene: Scene) -> None:
    """Some land with a smooth road across it, with verges and sometimes a median strip or a crossing road."""
    _background(scene)
    u, v = rotated_axes(scene.rng, scene.size)
    lane = scene.blend(("asphalt", "asphalt", "concrete", "dark_roof"), 0.7)
    verge = scene.blend(("grass", "dry_grass", "shrub", "bright_soil"), 0.5)
    line = np.abs(meander(scene.rng, u, v, scene.uniform(0, 6), scene.uniform(120, 260)))
    half = scene.uniform(1.0, 2.4)
    scene.paint(np.float32(scene.uniform(0.3, 0.9)) * soft(line - half - scene.uniform(0.5, 2.2)), verge)
    scene.paint(np.float32(scene.uniform(0.75, 1)) * soft(line - half), lane)
    if half > 1.5 and scene.chance(0.6):
        scene.paint(np.float32(0.6) * soft(line - 0.3), verge)
    if scene.chance(0.3):
        u, v = rotated_axes(scene.rng, scene.size)
        scene.paint(np.float32(0.8) * soft(np.abs(meander(scene.rng, u, v, 3, 150)) - 0.8), lane)


def _water(scene: Scene) -> Floats:
    """The spectrum of this scene's water, from clear to muddy, sometimes with algae."""
    shares = scene.rng.dirichlet([1.0, 0.7, 0.12, 0.06]).astype(np.float32)
    return shares @ np.stack([scene.materials[n] for n in ("clear_water", "turbid_water", "grass", "sand")])


def _river(scene: Scene) -> None:
    """Some land with a winding river across it, with banks of trees or sand."""
    _background(scene)
    u, v = rotated_axes(scene.rng, scene.size)
    line = np.abs(meander(scene.rng, u, v, scene.uniform(3, 14), scene.uniform(60, 160)) + scene.noise(4, slope=3))
    half = scene.uniform(2, 11)
    bank = scene.blend(("broadleaf", "shrub", "sand", "dark_soil", "grass"), 0.4)
    scene.paint(np.float32(scene.uniform(0.3, 1)) * soft(line - half - scene.uniform(0, 3), 1), bank)
    scene.paint(soft(line - half), _water(scene))


def _sea_lake(scene: Scene) -> None:
    """Water with waves and glint, clouds of sediment, and in half of the scenes a shore on one side."""
    rng = scene.rng
    shore = scene.chance(0.5)
    if shore:
        _background(scene)
    water, other = _water(scene), _water(scene)
    surface = soft(scene.noise(scene.uniform(6, 16), slope=3) * np.float32(0.6) - scene.uniform(-1, 1), 1.5)
    angle = scene.uniform(0, np.pi)
    waves = scene.noise(scene.uniform(0.6, 2), slope=2, stretch=scene.uniform(1, 6), angle=angle)
    glint = np.maximum(np.float32(rng.gamma(0.7, 60)) * (1 + waves * np.float32(scene.uniform(0.1, 0.6))), 0)
    sea = water[:, None, None] + surface * (other - water)[:, None, None] + glint
    if not shore:
        scene.image = sea.astype(np.float32)
        return
    u, v = rotated_axes(rng, scene.size)
    reach = scene.size * scene.uniform(-0.1, 0.35)
    coast = meander(rng, u, v, scene.uniform(1, 6), scene.uniform(60, 160)) - reach
    coast = (coast + np.float32(1.5) * scene.noise(4, slope=3)).astype(np.float32)
    scene.paint(np.float32(scene.uniform(0, 1)) * soft(coast - scene.uniform(0, 3), 1), "sand")
    scene.image += soft(coast) * (sea - scene.image)


LAYOUTS: dict[str, Callable[[Scene], None]] = {
    "AnnualCrop": _annual_crop,
    "Forest": _forest,
    "HerbaceousVegetation": _herbaceous,
    "Highway": _highway,
    "Industrial": _industrial,
    "Pasture": _pasture,
    "PermanentCrop": _permanent_crop,
    "Residential": _residential,
    "River": _river,
    "SeaLake": _sea_lake,
}

CLASSES: tuple[str, ...] = tuple(LAYOUTS)
"""EuroSAT's classes in EuroSAT's order (Helber et al. 2019, https://arxiv.org/abs/1709.00029)."""


def generate_chip(seed: int, split: Split, index: int, size: int) -> npt.NDArray[np.uint16]:
    """Draw one chip of class `CLASSES[index % 10]`: top-of-atmosphere reflectance x 10,000, shape (13, size, size).

    The chip is a function of the four arguments alone: it has its own random stream, so neither the number of chips nor
    the order in which they are asked for changes it. Lengths are in pixels of 10 m: a larger chip shows more land.
    Raises `ValueError` for a size below 16 or a negative seed or index.
    """
    if size < MIN_SIZE:
        raise ValueError(f"A synthetic chip of size {size} was asked for; it must be at least {MIN_SIZE} pixels wide.")
    if index < 0:
        raise ValueError(f"A synthetic chip of index {index} was asked for; the first one is 0.")
    # The split and the index are the spawn key, not further entropy, so that no large seed can run into them.
    stream = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index))
    rng = np.random.Generator(np.random.Philox(stream))
    season = float(rng.beta(0.9, 1.1))
    scene = Scene(rng, size + 2 * MARGIN, season, jittered_materials(rng))
    LAYOUTS[CLASSES[index % len(CLASSES)]](scene)
    return observe(scene)


class SyntheticDataset:
    """One split of a `SyntheticSource`. Chips are drawn when they are read; nothing is kept."""

    def __init__(self, *, seed: int, split: Split, size: int, count: int, bands: Sequence[str]) -> None:
        self.ids: tuple[str, ...] = tuple(f"{split}-{index:05d}" for index in range(count))
        self._seed, self._split, self._size = seed, split, size
        self._channels = [BANDS.index(band) for band in bands]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Draw a chip: the selected bands as uint16 (C, size, size), reflectance x 10,000, and its label."""
        if not 0 <= index < len(self):
            raise IndexError(f"Chip {index} was asked for of a split with {len(self)} chips.")
        chip = generate_chip(self._seed, self._split, index, self._size)
        return {"image": np.ascontiguousarray(chip[self._channels]), "label": index % len(CLASSES)}


class SyntheticSource:
    """A `Source` of generated chips: `counts` says how many each split has; labels run 0..9, 0..9, ...

    Raises `ConfigError` for an unknown or repeated band, a size below 16, a negative seed or count.
    """

    def __init__(self, *, seed: int, size: int, counts: dict[Split, int], bands: Sequence[str]) -> None:
        unknown = [band for band in bands if band not in BANDS]
        if unknown or not bands or len(set(bands)) < len(bands):
            raise ConfigError(f"bands is {list(bands)}; give at least one, each once, out of {', '.join(BANDS)}.")
        if size < MIN_SIZE:
            raise ConfigError(f"size is {size}; a synthetic chip must be at least {MIN_SIZE} pixels wide.")
        if seed < 0:
            raise ConfigError(f"seed is {seed}; it must be 0 or more.")
        if any(split not in SPLITS or count < 0 for split, count in counts.items()):
            raise ConfigError(f"counts is {dict(counts)}; give 0 or more chips to each of {', '.join(SPLITS)}.")
        self.bands: tuple[str, ...] = tuple(bands)
        self.classes: tuple[str, ...] = CLASSES
        self._seed, self._size, self._counts = seed, size, dict(counts)

    def dataset(self, split: Split) -> SyntheticDataset:
        """Open a split. Raises `DataError` if `counts` does not have it."""
        if split not in self._counts:
            raise DataError(
                f"The synthetic source has no split {split}; counts has {', '.join(self._counts) or 'none'}."
            )
        return SyntheticDataset(
            seed=self._seed, split=split, size=self._size, count=self._counts[split], bands=self.bands
        )
