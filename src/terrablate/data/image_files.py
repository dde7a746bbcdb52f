"""Reading one image file (JPEG, PNG or TIFF) into an array, its header, and where on Earth it lies."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from terrablate.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from rasterio.io import DatasetReader

type Pixels = npt.NDArray[Any]

IMAGE_SUFFIXES: frozenset[str] = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
"""Suffixes of image files in lower case; compare with `path.suffix.lower()`."""

TIFF_DTYPES: tuple[str, ...] = ("uint8", "uint16", "int16", "int32", "float32", "float64")

_MAGIC: tuple[tuple[bytes, Literal["pillow", "tiff"]], ...] = (
    (b"\xff\xd8\xff", "pillow"),
    (b"\x89PNG\r\n\x1a\n", "pillow"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
)


class ImageHeader(NamedTuple):
    """What an image file's header says about the array that `read_image` gives."""

    bands: int
    height: int
    width: int
    dtype: np.dtype[Any]


class ImageContent(NamedTuple):
    """One image file's pixels."""

    pixels: Pixels
    """C,H,W in the file's own numbers (float64 becomes float32)."""
    filled: int
    """How many values of `pixels` were invalid in the file and were replaced, over all bands."""


def is_image_name(path: Path) -> bool:
    """Whether the file's suffix is one of an image, in any letter case."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def read_image(path: Path, *, select: Sequence[int] | None = None, expected_bands: int | None = None) -> ImageContent:
    """Read the pixels of a JPEG, PNG or TIFF file; the content decides on the format, not the suffix.

    JPEG and PNG: greyscale gives 1 band, all else 3 (colour palettes and CMYK become RGB, transparency is dropped);
    uint8, or uint16 for a PNG of 16 bits; an EXIF orientation is ignored. TIFF: every band of the first page, an alpha
    band included, as uint8, uint16, int16, int32 or float32; a colour palette becomes RGB; scale, offset and mask
    bands are ignored.

    Invalid pixels of a TIFF are those equal to its declared nodata value, and NaN or infinite ones. Each takes the
    mean of the valid pixels of its own band in its own image, rounded for integer types.

    Args:
        path: The file.
        select: Numbers of the bands to read, from 0, in the order wanted; None for all.
        expected_bands: The number of bands that the file must have; None for any.

    Raises:
        DataError: If the file is missing, is not an image, is truncated, has another number of bands than
            `expected_bands`, stores numbers of another type, or has a selected band without any valid pixel.
    """
    if _reader(path) == "tiff":
        with _open_tiff(path) as tiff:
            _check_band_count(path, _tiff_header(path, tiff).bands, expected_bands)
            return _read_tiff(path, tiff, select)
    with _open_pillow(path) as image:
        _check_band_count(path, _pillow_header(path, image).bands, expected_bands)
        pixels = _read_pillow(path, image)
    return ImageContent(pixels if select is None else pixels[list(select)], 0)


def probe_image(path: Path) -> ImageHeader:
    """Give the shape and type that `read_image` would give, from the file's header alone.

    Raises:
        DataError: If the file is missing, is not an image, or stores numbers of a type that cannot be read.
    """
    if _reader(path) == "tiff":
        with _open_tiff(path) as tiff:
            return _tiff_header(path, tiff)
    with _open_pillow(path) as image:
        return _pillow_header(path, image)


def read_geolocation(path: Path) -> tuple[str, float, float]:
    """Give the coordinate reference system of a GeoTIFF and its centre `x, y` in the units of that system.

    The system is `EPSG:<code>` where it has a code, else its full text (WKT).

    Raises:
        DataError: If the file is missing, is not a TIFF, or says no reference system or position.
    """
    if _reader(path) != "tiff":
        raise DataError(f"{path} is not a GeoTIFF, so it says no place on Earth; blocks need georeferenced TIFF files.")
    with _open_tiff(path) as tiff:
        if tiff.crs is None or tiff.transform.is_identity:
            raise DataError(
                f"{path} is a TIFF without a coordinate reference system and position; blocks need georeferenced files."
            )
        x, y = tiff.xy(tiff.height / 2, tiff.width / 2, offset="ul")
        return str(tiff.crs.to_string()), float(x), float(y)


def _reader(path: Path) -> Literal["pillow", "tiff"]:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}.") from error
    if not start:
        raise DataError(f"{path} is not an image: the file is empty.")
    for magic, reader in _MAGIC:
        if start.startswith(magic):
            return reader
    raise DataError(f"{path} is not an image: its content is neither JPEG, PNG nor TIFF.")


def _unreadable(path: Path, error: BaseException) -> DataError:
    # rasterio says "Read failed. See previous exception" and keeps GDAL's reason in the cause.
    reason = str(error.__cause__ or error).strip().rstrip(".") or type(error).__name__
    return DataError(f"{path} cannot be read, it may be truncated or damaged: {' '.join(reason.split())}.")


def _check_band_count(path: Path, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise DataError(f"{path} has {found} band(s) where {expected} are expected, as in the dataset's first image.")


# --- JPEG and PNG ----------------------------------------------------------------------------------------------------


@contextmanager
def _open_pillow(path: Path) -> Iterator["Image"]:
    import struct

    import PIL.Image

    try:
        with PIL.Image.open(path, formats=("JPEG", "PNG")) as image:
            yield image
    # Pillow lets all of these through for damaged content.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, PIL.Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _pillow_header(path: Path, image: "Image") -> ImageHeader:
    if image.format == "PNG":
        with path.open("rb") as file:
            depth, colour = file.read(26)[24:]  # of PNG's first chunk, which has a fixed place
        if depth == 16:  # Pillow's mode tells colour and depth only after it has cut them down
            return ImageHeader(3 if colour & 2 else 1, image.height, image.width, np.dtype(np.uint16))
    bands = 1 if image.mode in {"1", "L", "LA", "La"} else 3
    return ImageHeader(bands, image.height, image.width, np.dtype(np.uint8))


def _read_pillow(path: Path, image: "Image") -> Pixels:
    image.load()  # raises on truncated data; GDAL's PNG reader would give zeros instead
    header = _pillow_header(path, image)
    if header.dtype == np.uint16:
        return _read_16_bit_png(path, header.bands)
    if header.bands == 1:
        return np.array(image.convert("L"))[np.newaxis]
    return np.ascontiguousarray(np.array(image.convert("RGB")).transpose(2, 0, 1))


def _read_16_bit_png(path: Path, bands: int) -> Pixels:
    # Pillow cuts colours of 16 bits down to 8 without a word, GDAL keeps them.
    import rasterio
    from rasterio.errors import RasterioError

    _silence_missing_georeference()
    try:
        with rasterio.open(path, driver="PNG") as png:
            pixels: Pixels = png.read(list(range(1, bands + 1)))
    except RasterioError as error:
        raise _unreadable(path, error) from error
    return pixels


# --- TIFF ------------------------------------------------------------------------------------------------------------


def _silence_missing_georeference() -> None:
    """Plain TIFF and PNG files are fine here, so rasterio need not warn that they lie nowhere on Earth."""
    from rasterio.errors import NotGeoreferencedWarning

    # Not `catch_warnings`: it changes the whole process' filters, and files are read from several threads.
    if ("ignore", None, NotGeoreferencedWarning, None, 0) not in warnings.filters:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)


@contextmanager
def _open_tiff(path: Path) -> Iterator["DatasetReader"]:
    import rasterio
    from rasterio.errors import RasterioError

    _silence_missing_georeference()
    try:
        # One driver only, so that no other of GDAL's formats is guessed from damaged content.
        with rasterio.open(path, driver="GTiff") as tiff:
            yield tiff
    except RasterioError as error:
        raise _unreadable(path, error) from error


def _has_palette(tiff: "DatasetReader") -> bool:
    from rasterio.enums import ColorInterp

    return bool(tiff.count == 1 and tiff.colorinterp[0] == ColorInterp.palette)


def _tiff_header(path: Path, tiff: "DatasetReader") -> ImageHeader:
    found = next((str(dtype) for dtype in tiff.dtypes if dtype not in TIFF_DTYPES), None)
    if found is not None:
        raise DataError(f"{path} stores numbers of type {found}; TIFF files may store {', '.join(TIFF_DTYPES)}.")
    if _has_palette(tiff):
        return ImageHeader(3, tiff.height, tiff.width, np.dtype(np.uint8))
    dtype = np.dtype(tiff.dtypes[0])
    return ImageHeader(tiff.count, tiff.height, tiff.width, np.dtype(np.float32) if dtype == np.float64 else dtype)


def _read_tiff(path: Path, tiff: "DatasetReader", select: Sequence[int] | None) -> ImageContent:
    if _has_palette(tiff):
        bands = [0, 1, 2] if select is None else list(select)
        numbers: Pixels = tiff.read([1])
        invalid = np.repeat(_equals_nodata(numbers, tiff.nodatavals[:1]), len(bands), axis=0)
        return _fill_invalid(path, _colours(tiff)[bands][:, numbers[0]], invalid, bands)
    bands = list(range(tiff.count) if select is None else select)
    pixels: Pixels = tiff.read([band + 1 for band in bands])
    invalid = _equals_nodata(pixels, [tiff.nodatavals[band] for band in bands])
    if pixels.dtype == np.float64:
        with np.errstate(over="ignore"):  # what overflows becomes infinite, hence invalid
            pixels = pixels.astype(np.float32)
    if pixels.dtype == np.float32:
        invalid |= ~np.isfinite(pixels)
    return _fill_invalid(path, pixels, invalid, bands)


def _equals_nodata(pixels: Pixels, nodata: Sequence[float | None]) -> npt.NDArray[np.bool_]:
    """Mark the pixels of every band that equal the band's declared nodata value."""
    invalid = np.zeros(pixels.shape, dtype=bool)
    for holes, band, value in zip(invalid, pixels, nodata, strict=True):
        if value is not None:
            holes[:] = band == value
    return invalid


def _colours(tiff: "DatasetReader") -> npt.NDArray[np.uint8]:
    """The palette as an array 3,K; numbers without a colour are black."""
    table = np.zeros((3, int(np.iinfo(tiff.dtypes[0]).max) + 1), dtype=np.uint8)
    for number, colour in tiff.colormap(1).items():
        table[:, number] = colour[:3]
    return table


def _fill_invalid(path: Path, pixels: Pixels, invalid: npt.NDArray[np.bool_], bands: Sequence[int]) -> ImageContent:
    """Replace, in place, the invalid pixels of every band by the mean of the band's valid ones."""
    if not invalid.any():
        return ImageContent(pixels, 0)
    for values, holes, band in zip(pixels, invalid, bands, strict=True):
        if holes.all():
            raise DataError(f"{path} has no valid pixel in band {band + 1}: all are nodata, NaN or infinite.")
        if holes.any():
            mean = values[~holes].mean(dtype=np.float64)
            values[holes] = np.rint(mean) if np.issubdtype(values.dtype, np.integer) else mean
    return ImageContent(pixels, int(invalid.sum()))
