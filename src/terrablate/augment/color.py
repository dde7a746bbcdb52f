"""Changes of illumination and atmosphere for any number of bands, and of colour for RGB, per sample."""

import torch

from terrablate.augment.draws import symmetric
from terrablate.augment.photometric import contrast as with_contrast
from terrablate.augment.photometric import gamma as with_gamma
from terrablate.augment.photometric import saturation_and_hue


def color(
    images: torch.Tensor,
    generator: torch.Generator,
    spread: torch.Tensor,
    brightness: float = 0.2,
    contrast: float = 0.2,
    band_gain: float = 0.05,
    haze: float = 0.1,
    gamma: float = 0.0,
    band_offset: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    rgb: tuple[int, int, int] | None = None,
) -> torch.Tensor:
    """Scale and shift reflectance as sun and air do; nothing is clipped, since real reflectance exceeds 1.

    Band c of a sample becomes `g * g_c * (m_c + k * (x - m_c)) + (h + h_c) * s_c`, where `m_c` is the band's mean in
    that sample and `s_c` its deviation in the data, `g` is uniform in 1 +- brightness (sun), `k` in 1 +- contrast,
    `g_c` in 1 +- band_gain for each band on its own (spectral response, phenology), `h` in +- haze, common to all
    bands (path radiance), and `h_c` in +- band_offset for each band on its own (calibration). The offsets are in units
    of `s_c`, since one constant would drown a band that hardly varies, such as Sentinel-2's cirrus band. Before this
    comes gamma, one exponent for all bands, uniform in 1 +- gamma; after the contrast come saturation (factor in
    1 +- saturation) and hue (rotation in +- hue of a turn).

    Args:
        images: N,C,H,W on the scale of reflectance or bytes / 255, before standardisation.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.
        brightness: half-width of the common gain, 0 to below 1.
        contrast: half-width of the contrast, 0 to below 1.
        band_gain: half-width of the gain of single bands, 0 to below 1.
        haze: half-width of the added constant, in units of `spread`.
        gamma: half-width of the exponent, 0 to below 1; see `photometric.gamma`.
        band_offset: half-width of the added constant of single bands, in units of `spread`.
        saturation: half-width of the saturation, 0 to below 1.
        hue: half-width of the rotation of colours, 0 to 0.5 turns.
        rgb: positions of red, green and blue, for saturation and hue.

    Returns:
        N,C,H,W. All zero widths give the input unchanged. Without gamma, saturation and hue a band whose values lie
        in [a, b] ends within `(1 + brightness) (1 + band_gain)` times [a - contrast (b - a), b + contrast (b - a)]
        (for values above 0), plus and minus `(haze + band_offset) s_c`.

    Raises:
        ValueError: if saturation or hue is asked for without `rgb`.
    """
    count, bands = images.shape[:2]
    gain = (1 + symmetric(images, generator, count, 1, 1, 1) * brightness) * (
        1 + symmetric(images, generator, count, bands, 1, 1) * band_gain
    )
    stretch = symmetric(images, generator, count, 1, 1, 1) * contrast
    offset = symmetric(images, generator, count, 1, 1, 1) * haze * spread.view(-1, 1, 1)
    # drawn after the four above, and only if asked for: a recipe without them gives what it always gave
    if band_offset:
        offset = offset + symmetric(images, generator, count, bands, 1, 1) * band_offset * spread.view(-1, 1, 1)
    if gamma:
        images = with_gamma(images, 1 + symmetric(images, generator, count, 1, 1, 1) * gamma)
    if contrast:
        images = with_contrast(images, stretch)
    if saturation or hue:
        if rgb is None:
            raise ValueError("saturation and hue need the positions of red, green and blue")
        factor, turn = symmetric(images, generator, 2, count)
        images = saturation_and_hue(images, rgb, 1 + factor * saturation, turn * hue)
    changed = images * gain
    changed += offset
    return changed
