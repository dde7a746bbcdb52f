"""Changes of illumination and atmosphere for any number of bands, per sample."""

import torch


def color(
    images: torch.Tensor,
    generator: torch.Generator,
    spread: torch.Tensor,
    brightness: float = 0.2,
    contrast: float = 0.2,
    band_gain: float = 0.05,
    haze: float = 0.1,
) -> torch.Tensor:
    """Scale and shift reflectance as sun and air do; nothing is clipped, since real reflectance exceeds 1.

    Band c of a sample becomes `g * g_c * (m_c + k * (x - m_c)) + h * s_c`, where `m_c` is the band's mean in that
    sample and `s_c` its deviation in the data, `g` is uniform in 1 +- brightness (sun), `k` in 1 +- contrast, `g_c` in
    1 +- band_gain for each band on its own (spectral response, phenology), and `h` in +- haze, common to all bands
    (path radiance; in units of `s_c`, since one constant would drown a band that hardly varies, such as Sentinel-2's
    cirrus band).

    Args:
        images: N,C,H,W on the scale of reflectance or bytes / 255, before standardisation.
        generator: the augmentation stream, on the images' device.
        spread: C, deviation of each band in the training data, on the scale of the images.
        brightness: half-width of the common gain, 0 to below 1.
        contrast: half-width of the contrast, 0 to below 1.
        band_gain: half-width of the gain of single bands, 0 to below 1.
        haze: half-width of the added constant, in units of `spread`.

    Returns:
        N,C,H,W. All zero widths give the input unchanged.
    """
    count, bands = images.shape[:2]

    def uniform(width: float, *size: int) -> torch.Tensor:
        draws = torch.rand(*size, 1, 1, device=images.device, generator=generator, dtype=images.dtype)
        return (2 * draws - 1) * width

    gain = (1 + uniform(brightness, count, 1)) * (1 + uniform(band_gain, count, bands))
    stretch = uniform(contrast, count, 1)
    offset = uniform(haze, count, 1) * spread.view(-1, 1, 1)
    if contrast:
        images = images + stretch * (images - images.mean(dim=(-2, -1), keepdim=True))
    return images * gain + offset
