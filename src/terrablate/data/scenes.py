"""What synthetic scenes are made of: spectra of materials, textures, a canvas, and the sensor that looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

# float32 in fact; numpy's stubs believe that a Python float times float32 were float64.
type Floats = npt.NDArray[np.floating[Any]]
type Labels = npt.NDArray[np.intp]

BANDS: tuple[str, ...] = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
"""Sentinel-2's bands in the order of EuroSAT's files: B8A comes last, not after B08."""

WAVELENGTHS: Floats = np.array([443, 490, 560, 665, 705, 740, 783, 842, 945, 1375, 1610, 2190, 865], np.float32)
"""Central wavelengths of `BANDS` in nanometres (Sentinel-2 user handbook)."""

# Reflectance at the ground x 10,000 in the order of BANDS. The values are rounded readings of the shapes that every
# spectral library shows (red edge of plants, rise of soils to the short-wave infrared, black water beyond red); the
# atmosphere, which closes B10 and most of B09, is added by the sensor.
_SIGNATURES: dict[str, tuple[int, ...]] = {
    #                   B01   B02   B03   B04   B05   B06   B07   B08   B09   B10   B11   B12   B8A
    "bright_soil":     (900, 1100, 1500, 2000, 2200, 2350, 2500, 2650, 2850, 3200, 3500, 2900, 2800),
    "dark_soil":       (400, 500, 700, 950, 1050, 1150, 1250, 1350, 1500, 1800, 2000, 1700, 1450),
    "red_soil":        (420, 520, 900, 1750, 1950, 2050, 2150, 2250, 2450, 2900, 3100, 2500, 2350),
    "green_crop":      (200, 250, 600, 300, 900, 3000, 4200, 4500, 4500, 2800, 1900, 900, 4700),
    "senescent_crop":  (600, 800, 1200, 1600, 1900, 2300, 2500, 2700, 2900, 3200, 3200, 2200, 2900),
    "conifer":         (130, 160, 320, 200, 450, 1500, 1900, 2050, 2050, 1300, 900, 420, 2150),
    "broadleaf":       (150, 200, 450, 240, 750, 2500, 3300, 3500, 3500, 2200, 1500, 650, 3600),
    "autumn_leaf":     (220, 300, 550, 700, 1050, 2000, 2400, 2600, 2700, 2300, 1900, 1000, 2750),
    "grass":           (220, 280, 600, 400, 950, 2500, 3300, 3600, 3600, 2700, 2100, 1100, 3700),
    "dry_grass":       (480, 620, 920, 1150, 1450, 1950, 2250, 2450, 2650, 2900, 2900, 1900, 2650),
    "shrub":           (250, 320, 550, 500, 850, 1700, 2100, 2300, 2350, 2000, 1800, 1000, 2400),
    "asphalt":         (700, 800, 930, 1030, 1080, 1150, 1200, 1250, 1300, 1380, 1400, 1300, 1280),
    "concrete":        (1400, 1700, 2000, 2200, 2300, 2350, 2400, 2450, 2500, 2600, 2650, 2450, 2500),
    "metal_roof":      (3300, 3700, 3900, 4000, 4050, 4100, 4100, 4100, 4100, 3900, 3700, 3200, 4100),
    "tile_roof":       (600, 750, 1100, 1900, 2200, 2350, 2450, 2500, 2600, 2800, 2900, 2500, 2600),
    "dark_roof":       (600, 680, 730, 780, 800, 830, 860, 900, 950, 1050, 1100, 1050, 930),
    "clear_water":     (280, 310, 260, 130, 90, 60, 50, 45, 25, 15, 15, 10, 35),
    "turbid_water":    (450, 650, 950, 800, 700, 350, 320, 250, 120, 60, 60, 40, 200),
    "sand":            (1300, 1600, 2100, 2600, 2750, 2850, 2950, 3050, 3200, 3600, 3700, 3200, 3150),
}  # fmt: skip

MATERIALS: dict[str, Floats] = {name: np.array(values, np.float32) for name, values in _SIGNATURES.items()}
"""Ground reflectance x 10,000 of each material, in the order of `BANDS`."""


def jittered_materials(rng: np.random.Generator) -> dict[str, Floats]:
    """Draw one scene's variant of every material: its own brightness, tilt over wavelength and ripple of each band.

    Returns spectra of shape (13,), x 10,000. Standard deviations: brightness 14 %, the blue against the short-wave
    infrared 19 %, and each band by 4 % on its own.
    """
    count, bands = len(MATERIALS), len(BANDS)
    tilt = np.log(WAVELENGTHS / 900.0)
    log_gain = (
        0.14 * rng.standard_normal((count, 1), np.float32)
        + 0.12 * rng.standard_normal((count, 1), np.float32) * tilt
        + 0.04 * rng.standard_normal((count, bands), np.float32)
    )
    gains = np.exp(log_gain)
    return {name: spectrum * gain for (name, spectrum), gain in zip(MATERIALS.items(), gains, strict=True)}


@cache
def frequencies(size: int) -> tuple[Floats, Floats]:
    """Frequencies (cycles a pixel) along y, (size, 1), and x, (1, size // 2 + 1), in the order of `rfft2`."""
    fy = np.fft.fftfreq(size).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(size).astype(np.float32)[None, :]
    return fy, fx


def smooth_noise(
    rng: np.random.Generator, size: int, scale: float, *, slope: float = 2.0, stretch: float = 1.0, angle: float = 0.0
) -> Floats:
    """Gaussian noise of shape (size, size), mean 0 and variance 1, filtered in the Fourier domain.

    Its spectrum is flat for wavelengths above 2 pi `scale` pixels and falls with the power `slope` of the amplitude
    below that: 1.5 gives grain on top of patches, 3 gives soft patches. `stretch` > 1 draws it out along `angle`.
    """
    fy, fx = frequencies(size)
    if stretch == 1.0:
        squared = fx * fx + fy * fy
    else:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, across = fx * cos + fy * sin, fy * cos - fx * sin
        squared = along * along * np.float32(stretch) + across * across / np.float32(stretch)
    response = (1.0 + squared * np.float32((2 * np.pi * scale) ** 2)) ** np.float32(-slope / 2)
    response[0, 0] = 0.0
    white = rng.standard_normal((size, size), np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * response, s=(size, size)).astype(np.float32)
    return noise / (noise.std() + np.float32(1e-6))


def rotated_axes(rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Pixel coordinates along and across a random direction, with the origin at a random place of the chip."""
    angle = rng.uniform(0, 2 * np.pi)
    centre = rng.uniform(0.15, 0.85, 2) * size
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def soft(distance: Floats, width: float = 0.5) -> Floats:
    """1 where `distance` (pixels) is below -width, 0 above +width, a ramp between: the share of a pixel covered."""
    cover: Floats = np.clip(np.float32(0.5) - distance * np.float32(0.5 / width), 0.0, 1.0)
    return cover


def _cut(values: Floats, cuts: Floats) -> tuple[Labels, Floats]:
    """Number of the interval between `cuts` that each value lies in, and its distance to the nearer end."""
    number = np.searchsorted(cuts, values.ravel()).reshape(values.shape).clip(1, len(cuts) - 1)
    return number - 1, np.minimum(values - cuts[number - 1], cuts[number] - values)


def parcels(
    rng: np.random.Generator, u: Floats, v: Floats, width: float, length: float, spread: float = 0.5
) -> tuple[Labels, Floats]:
    """Cut the plane (u, v) into strips of about `width`, each into pieces of about `length` (pixels).

    Returns the number of each pixel's parcel and its distance to the parcel's edge in pixels. Sides vary uniformly by
    the fraction `spread`. Neighbouring strips are cut at different places, as fields and houses are.
    """
    reach = float(np.hypot(*u.shape)) + length

    def cuts(mean: float, extent: float) -> Floats:
        steps = mean * rng.uniform(1 - spread, 1 + spread, int(2 * extent / (mean * (1 - spread))) + 2)
        places: Floats = (np.cumsum(steps) - extent - steps[0]).astype(np.float32)
        return places

    u_cuts, v_cuts = cuts(width, reach), cuts(length, 2 * reach)
    strip, u_edge = _cut(u, u_cuts)
    shift = rng.uniform(-reach / 2, reach / 2, len(u_cuts)).astype(np.float32)
    piece, v_edge = _cut(v + shift[strip], v_cuts)
    return strip * len(v_cuts) + piece, np.minimum(u_edge, v_edge)


def cells(rng: np.random.Generator, u: Floats, v: Floats, spacing: float) -> tuple[Labels, Floats]:
    """Irregular (Voronoi) cells of about `spacing` pixels: cell numbers and distance to the border in pixels.

    Sites lie in a jittered grid, so that nine candidates a pixel suffice whatever the size (Worley, 1996).
    """
    a, b = u / np.float32(spacing), v / np.float32(spacing)
    a, b = a - a.min() + 1, b - b.min() + 1
    rows, columns = int(a.max()) + 3, int(b.max()) + 3
    sites = rng.uniform(0.05, 0.95, (2, rows, columns)).astype(np.float32)
    row, column = a.astype(np.intp), b.astype(np.intp)
    nearest = np.full(a.shape, np.inf, np.float32)
    second = nearest.copy()
    labels = np.zeros(a.shape, np.intp)
    for d_row in (-1, 0, 1):
        for d_column in (-1, 0, 1):
            r, c = row + d_row, column + d_column
            distance = np.hypot(sites[0, r, c] + r - a, sites[1, r, c] + c - b)
            closer = distance < nearest
            second = np.minimum(second, np.maximum(nearest, distance))
            labels = np.where(closer, r * columns + c, labels)
            nearest = np.minimum(nearest, distance)
    return labels, (second - nearest) * np.float32(0.5 * spacing)


def compact(labels: Labels) -> tuple[Labels, int]:
    """Renumber labels to 0..count-1 so that attributes are drawn for visible parcels only; returns them and count."""
    present = np.bincount(labels.ravel()) > 0
    return (np.cumsum(present) - 1)[labels], int(present.sum())


def meander(rng: np.random.Generator, u: Floats, v: Floats, amplitude: float, wavelength: float) -> Floats:
    """Signed distance in pixels to a winding line along u: two sines, corrected for the slope of the line."""
    phase = rng.uniform(0, 2 * np.pi, 2)
    k = np.float32(2 * np.pi / wavelength)
    amplitudes = np.float32(amplitude), np.float32(0.3 * amplitude)
    first, second = k * u + np.float32(phase[0]), 2.3 * k * u + np.float32(phase[1])
    line = amplitudes[0] * np.sin(first) + amplitudes[1] * np.sin(second)
    slope = k * (amplitudes[0] * np.cos(first) + 2.3 * amplitudes[1] * np.cos(second))
    return (v - line) / np.sqrt(1 + slope * slope)


@dataclass
class Scene:
    """A canvas of ground reflectance x 10,000, shape (13, size, size), with its own materials and random stream."""

    rng: np.random.Generator
    size: int
    season: float
    """0 is the green height of the season, 1 is when everything is dry or harvested."""
    materials: dict[str, Floats]
    image: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.image = np.zeros((len(BANDS), self.size, self.size), np.float32)

    def uniform(self, low: float, high: float) -> float:
        """One uniform number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def noise(self, scale: float, *, slope: float = 2.0, stretch: float = 1.0, angle: float = 0.0) -> Floats:
        """`smooth_noise` of the canvas' size."""
        return smooth_noise(self.rng, self.size, scale, slope=slope, stretch=stretch, angle=angle)

    def blend(self, names: Sequence[str], concentration: float = 1.0) -> Floats:
        """One spectrum, shape (13,): the named materials in random (Dirichlet) shares; small values favour one."""
        shares = self.rng.dirichlet([concentration] * len(names)).astype(np.float32)
        return shares @ np.stack([self.materials[name] for name in names])

    def soil(self) -> Floats:
        """A mixture of soils, shape (13,)."""
        return self.blend(("bright_soil", "dark_soil", "red_soil"), 0.6)

    def fill(self, spectra: Floats, labels: Labels) -> None:
        """Replace the whole image: pixel (y, x) gets row `labels[y, x]` of `spectra` (count, 13)."""
        self.image = np.take(np.ascontiguousarray(spectra.T, np.float32), labels, axis=1)

    def paint(self, cover: Floats, spectrum: Floats | str) -> None:
        """Lay a material (13,) over the image where `cover` (size, size) says, in 0..1."""
        values = self.materials[spectrum] if isinstance(spectrum, str) else spectrum
        self.image += cover * (values[:, None, None] - self.image)

    def shade(self, gain: Floats) -> None:
        """Multiply all bands by `gain` (size, size); what would turn negative becomes dark instead."""
        self.image *= np.maximum(gain, np.float32(0.15))


def crop_spectra(scene: Scene, count: int) -> Floats:
    """Spectra (count, 13) of parcels between bare soil, green crop and ripe crop, x 10,000."""
    rng, soil, other_soil = scene.rng, scene.soil(), scene.soil()
    crop = scene.blend(("green_crop", "grass", "broadleaf"), 0.5)
    cover = rng.beta(0.6, 0.6, (count, 1))
    ripe = np.clip(rng.normal(scene.season, 0.3, (count, 1)), 0, 1)
    ground = soil + rng.random((count, 1)) * (other_soil - soil)
    plants = crop + ripe * (scene.blend(("senescent_crop", "dry_grass")) - crop)
    return ((ground + cover * (plants - ground)) * np.exp(rng.normal(0, 0.1, (count, 1)))).astype(np.float32)


ROOFS = ("tile_roof", "dark_roof", "concrete", "metal_roof")
"""Materials that houses and halls share."""


def add_details(scene: Scene, *, track: float, copse: float, hamlet: float) -> None:
    """Perhaps add a farm track, patches of trees and a few houses, each with the given probability.

    They keep any thin line from meaning a highway, any roof a town and any dark patch a forest.
    """
    rng, size = scene.rng, scene.size
    if scene.chance(track):
        u, v = rotated_axes(rng, size)
        line = np.abs(meander(rng, u, v, scene.uniform(0, 5), scene.uniform(50, 120)))
        scene.paint(scene.uniform(0.4, 0.9) * soft(line - 0.6), scene.blend(("bright_soil", "sand", "asphalt"), 0.6))
    if scene.chance(copse):
        patch = soft((scene.uniform(0.7, 2.0) - scene.noise(scene.uniform(3, 7), slope=3)) * 4)
        scene.paint(patch, scene.blend(("conifer", "broadleaf", "shrub"), 0.6))
    if scene.chance(hamlet):
        u, v = rotated_axes(rng, size)
        labels, edge = parcels(rng, u, v, 4.0, 5.0)
        labels, count = compact(labels)
        here = np.hypot(u, v) < scene.uniform(4, 14)
        roof = (rng.random(count) < 0.4)[labels] & here
        scene.paint(roof * soft(0.7 - edge), scene.blend(ROOFS, 0.5))


# Pixels drawn around the chip and cut off at the end, so that blur and noise do not wrap around.
MARGIN = 4

# What the atmosphere adds to (reflectance x 10,000 at average haze) and lets through of each band's signal. B10 lies in
# a water vapour band that nothing on the ground reaches through, B09 in a weaker one.
_PATH = np.array([1000, 690, 420, 240, 210, 170, 150, 120, 25, 8, 20, 10, 105], np.float32)
_TRANSMISSION = np.array([0.72, 0.78, 0.84, 0.90, 0.91, 0.92, 0.94, 0.94, 0.29, 0.001, 0.95, 0.94, 0.95], np.float32)
# Native resolution of the bands in metres (Sentinel-2 user handbook).
_RESOLUTION = np.array([60, 10, 10, 10, 20, 20, 20, 10, 60, 60, 20, 20, 20])


def _blurred(image: Floats, weight: Floats | np.float32, step: int = 1) -> Floats:
    """Smooth (C, H, W) with the kernel (weight, 1 - 2 weight, weight) at distance `step` in both directions."""
    for axis in (-2, -1):
        neighbours = np.roll(image, step, axis) + np.roll(image, -step, axis)
        image = image + weight * (neighbours - 2 * image)
    return image


def observe(scene: Scene) -> npt.NDArray[np.uint16]:
    """Look at a scene through light, air and sensor; returns uint16 reflectance x 10,000 without the margin.

    In this order: blur to the band's resolution, gain and gradient of the illumination, transmission and additive path
    radiance of hazy air (stronger in the blue), noise (a constant and a part proportional to the root of the signal).
    """
    rng = scene.rng
    image = _blurred(scene.image, np.where(_RESOLUTION == 10, 0.1, 0.25).astype(np.float32)[:, None, None])
    coarse = _RESOLUTION == 60
    # Together a standard deviation of 1.7 pixels, that of a 60 m pixel's box, and a reach of 4, that of the margin.
    image[coarse] = _blurred(_blurred(image[coarse], np.float32(0.25), 2), np.float32(0.25))
    image = image[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    chip = image.shape[-1]
    ramp = np.linspace(-1, 1, chip, dtype=np.float32)
    gradient = rng.normal(0, 0.05, 2).astype(np.float32)
    light = np.exp(rng.normal(0, 0.16)).astype(np.float32) * (1 + gradient[0] * ramp[:, None] + gradient[1] * ramp)
    haze = np.float32(np.exp(rng.normal(0.08, 0.16)))
    transmission = _TRANSMISSION ** np.float32(0.6 + 0.4 * haze)
    # Thin cloud is brighter than clear air in every band, and uneven.
    veil = np.float32(rng.exponential(60) if rng.random() < 0.4 else 0) * np.ones_like(light)
    if veil[0, 0] > 0:
        veil = veil * np.clip(1 + 0.3 * smooth_noise(rng, chip, 8, slope=3), 0, None)
    veil_colour = (_TRANSMISSION * (600 / WAVELENGTHS) ** 0.7).astype(np.float32)
    tint = np.exp(rng.normal(0, 0.06, len(BANDS))).astype(np.float32)
    path = _PATH * tint * np.where(WAVELENGTHS < 1300, haze ** (500 / WAVELENGTHS), 1).astype(np.float32)
    image = np.maximum(image, 0) * light * transmission[:, None, None]
    image += path[:, None, None] + veil * veil_colour[:, None, None]
    # B10 has almost no light and almost no noise: EuroSAT's values there are 8 to 16.
    deviation = np.float32(rng.uniform(4, 12)) + np.float32(0.25) * np.sqrt(image)
    deviation[BANDS.index("B10")] *= np.float32(0.1)
    image += deviation * rng.standard_normal(image.shape, np.float32)
    digital: npt.NDArray[np.uint16] = np.clip(np.rint(image), 1, 65535).astype(np.uint16)
    return digital
