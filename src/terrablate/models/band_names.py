"""Band names in one form, so that `B01` of a data set and `B1` of published weights are known as the same band."""

import re
from collections.abc import Sequence

RGB = ("red", "green", "blue")

_NUMBERED = re.compile(r"(?:SR_)?B0*(\d+A?)")
_COLOURS = {"R": "red", "G": "green", "B": "blue", "RED": "red", "GREEN": "green", "BLUE": "blue", "N": "NIR"}
_ONLY_ON_SENTINEL2 = {"B8A", "B12"}
_RGB_OF_SENSOR = {
    "SENTINEL2": ("B4", "B3", "B2"),
    "LANDSAT_TM": ("B3", "B2", "B1"),
    "LANDSAT_ETM": ("B3", "B2", "B1"),
    "LANDSAT": ("B4", "B3", "B2"),  # OLI, Landsat 8 and 9
}


def canonical(bands: Sequence[str], rgb: Sequence[str] | None) -> list[str]:
    """Band names in one form: B1 for B01, b01 and SR_B1; red, green and blue called so, whatever the sensor says.

    Args:
        bands: names as a data set or weights have them.
        rgb: which of the sensor's bands are red, green and blue.
    """
    alias = dict(zip(map(_plain, rgb), RGB, strict=True)) if rgb else {}
    return [alias.get(name, name) for name in map(_plain, bands)]


def canonical_of_torchgeo(weight: str, bands: Sequence[str], data_bands: Sequence[str] | None) -> list[str]:
    """The bands of weights of torchgeo in that form; their sensor stands in the weights' name.

    Numbers of bands mean other wavelengths on Landsat than on Sentinel-2, but for red, green and blue: on data that
    are of Sentinel-2 by their names, the other bands of Landsat weights are called LANDSAT_B5 and match none.

    Args:
        weight: enum and member, such as ResNet18_Weights.SENTINEL2_ALL_MOCO.
        bands: of the weights, as torchgeo names them.
        data_bands: all band names of the data's sensor, as far as the config knows them.
    """
    member = weight.partition(".")[2]
    rgb = next((rgb for sensor, rgb in _RGB_OF_SENSOR.items() if member.startswith(sensor)), None)
    names = canonical(bands, rgb)
    if member.startswith("LANDSAT") and _ONLY_ON_SENTINEL2 & set(canonical(data_bands or [], None)):
        return [name if name in RGB else f"LANDSAT_{name}" for name in names]
    return names


def _plain(band: str) -> str:
    upper = band.upper()
    numbered = _NUMBERED.fullmatch(upper)
    return f"B{numbered[1]}" if numbered else _COLOURS.get(upper, upper)
