"""Reading single image files: formats, number types, invalid pixels, damage, and place."""

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from terrablate.data.image_files import probe_image, read_geolocation, read_image
from terrablate.errors import DataError

# Writing plain files warns; that reading them does not is a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def write_tiff(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    bands, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=pixels.dtype, **profile
    ) as tiff:
        tiff.write(pixels)
    return path


def ramp(bands: int, dtype: str, height: int = 6, width: int = 5) -> np.ndarray:
    return np.arange(bands * height * width).reshape(bands, height, width).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 7])
def test_tiff_keeps_its_numbers_and_type(tmp_path: Path, dtype: str, bands: int) -> None:
    pixels = ramp(bands, dtype)
    path = write_tiff(tmp_path / "a.tif", pixels)
    content = read_image(path)
    np.testing.assert_array_equal(content.pixels, pixels)
    assert content.pixels.dtype == dtype
    assert content.filled == 0
    assert probe_image(path) == (bands, 6, 5, np.dtype(dtype))


def test_float64_tiff_becomes_float32_and_what_overflows_is_filled(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.array([[[1.5, 1e300, 2.5]]]))
    content = read_image(path)
    assert content.pixels.dtype == np.float32
    assert content.pixels.tolist() == [[[1.5, 2.0, 2.5]]]
    assert content.filled == 1
    assert probe_image(path).dtype == np.float32


def test_bands_are_selected_in_the_order_asked_for(tmp_path: Path) -> None:
    pixels = ramp(5, "int16")
    path = write_tiff(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(read_image(path, select=[4, 0]).pixels, pixels[[4, 0]])
    Image.fromarray(pixels[:3].astype("uint8").transpose(1, 2, 0)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", select=[2, 1]).pixels, pixels[[2, 1]])


def test_another_band_count_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", ramp(4, "uint8"))
    with pytest.raises(DataError, match=r"a\.tif has 4 band\(s\) where 3 are expected"):
        read_image(path, expected_bands=3)


def test_integer_nodata_takes_the_rounded_mean_of_its_own_band(tmp_path: Path) -> None:
    pixels = np.array([[[-9999, 10, 11, 11]], [[-20, -21, -9999, -9999]]], dtype="int16")
    content = read_image(write_tiff(tmp_path / "sar.tif", pixels, nodata=-9999))
    assert content.pixels.tolist() == [[[11, 10, 11, 11]], [[-20, -21, -20, -20]]]  # 10.67 and -20.5, to even
    assert content.pixels.dtype == np.int16
    assert content.filled == 3


def test_float_nodata_nan_and_infinity_take_the_mean_of_the_valid_pixels(tmp_path: Path) -> None:
    pixels = np.array([[[np.nan, -12.5, -13.5, np.inf, -9999.9]], [[1, 2, 3, 4, 5]]], dtype="float32")
    content = read_image(write_tiff(tmp_path / "sar.tif", pixels, nodata=-9999.9))
    assert content.pixels.tolist() == [[[-13.0, -12.5, -13.5, -13.0, -13.0]], [[1, 2, 3, 4, 5]]]
    assert content.filled == 3


def test_nan_as_declared_nodata_is_filled(tmp_path: Path) -> None:
    pixels = np.array([[[np.nan, 4.0]]], dtype="float32")
    assert read_image(write_tiff(tmp_path / "a.tif", pixels, nodata=np.nan)).pixels.tolist() == [[[4.0, 4.0]]]


def test_a_band_without_valid_pixel_is_refused_only_when_selected(tmp_path: Path) -> None:
    pixels = np.stack([np.full((2, 2), 7), np.zeros((2, 2))]).astype("uint16")
    path = write_tiff(tmp_path / "a.tif", pixels, nodata=0)
    with pytest.raises(DataError, match=r"a\.tif has no valid pixel in band 2"):
        read_image(path)
    assert read_image(path, select=[0]).pixels.tolist() == [[[7, 7], [7, 7]]]


def test_types_that_cannot_be_trained_on_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", ramp(1, "complex64"))
    for read in (read_image, probe_image):
        with pytest.raises(DataError, match=r"a\.tif stores numbers of type complex64"):
            read(path)


def test_palette_tiff_becomes_rgb_with_nodata_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=1, width=3, dtype="uint8", nodata=9) as tiff:
        tiff.write(np.array([[[0, 1, 9]]], dtype="uint8"))
        tiff.write_colormap(1, {0: (10, 20, 30), 1: (20, 40, 60), 9: (255, 255, 255)})
    assert probe_image(path) == (3, 1, 3, np.dtype("uint8"))
    content = read_image(path)
    assert content.pixels.tolist() == [[[10, 20, 15]], [[20, 40, 30]], [[30, 60, 45]]]
    assert content.filled == 3
    assert read_image(path, select=[2]).pixels.tolist() == [[[30, 60, 45]]]


def test_plain_tiff_gives_no_warning(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", ramp(1, "uint8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path)


@pytest.mark.parametrize(
    ("mode", "bands"), [("1", 1), ("L", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("I;16", 1)]
)
def test_png_of_every_mode(tmp_path: Path, mode: str, bands: int) -> None:
    path = tmp_path / "a.PNG"
    dtype: np.dtype[Any] = np.dtype("uint16" if mode == "I;16" else "uint8")
    if mode == "I;16":
        Image.fromarray(np.array([[0, 300, 65535]], dtype="uint16")).save(path)
        expected = [[[0, 300, 65535]]]
    else:
        colours = Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], dtype="uint8"))
        image = colours.convert(mode)
        if mode in {"LA", "RGBA"}:
            image.putalpha(0)
        image.save(path)
        expected = [[[0, 255]]] * bands
    content = read_image(path)
    assert content.pixels.tolist() == expected
    assert content.pixels.dtype == dtype
    assert probe_image(path) == (bands, 1, len(expected[0][0]), dtype)


def test_palette_png_gives_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[1, 200]], [[2, 100]], [[3, 50]]]


@pytest.mark.parametrize("bands", [3, 4])
def test_colour_png_of_16_bits_is_not_cut_down_to_8(tmp_path: Path, bands: int) -> None:
    pixels = ramp(bands, "uint16") * 500
    with rasterio.open(tmp_path / "a.png", "w", driver="PNG", count=bands, height=6, width=5, dtype="uint16") as png:
        png.write(pixels)
    content = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(content.pixels, pixels[:3])
    assert content.pixels.dtype == np.uint16
    assert probe_image(tmp_path / "a.png") == (3, 6, 5, np.dtype("uint16"))


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_jpeg_of_every_mode(tmp_path: Path, mode: str, bands: int) -> None:
    Image.new("RGB", (8, 4), (90, 90, 90)).convert(mode).save(tmp_path / "a.jpeg", quality=95)
    content = read_image(tmp_path / "a.jpeg")
    assert content.pixels.shape == (bands, 4, 8)
    assert np.abs(content.pixels.astype(int) - 90).max() <= 2
    assert probe_image(tmp_path / "a.jpeg") == (bands, 4, 8, np.dtype("uint8"))


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright: shown turned by 90 degrees
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").pixels.shape == (3, 4, 8)


def test_the_content_decides_on_the_format_not_the_suffix(tmp_path: Path) -> None:
    pixels = ramp(3, "uint8")
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "png.tif", format="PNG")
    write_tiff(tmp_path / "tiff.jpg", pixels)
    for name in ("png.tif", "tiff.jpg"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, pixels)


def damaged(path: Path, kept: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    return path


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["jpg", "png", "png16", "tif", "tif-deflate"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, kept: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 40)).astype("uint8")
    path = tmp_path / f"cut.{kind[:3]}"
    match kind:
        case "tif":
            write_tiff(path, pixels)
        case "tif-deflate":
            write_tiff(path, pixels, compress="deflate")
        case "png16":
            with rasterio.open(path, "w", driver="PNG", count=3, height=40, width=40, dtype="uint16") as png:
                png.write(pixels.astype("uint16") * 200)
        case _:
            Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    read_image(path)
    with pytest.raises(
        DataError, match=rf"{path.name} (cannot be read, it may be truncated|is not an image)"
    ) as caught:
        read_image(damaged(path, kept))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["note.jpg", "note.png", "note.tif"])
def test_text_named_as_an_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("not an image at all")
    for read in (read_image, probe_image):
        with pytest.raises(DataError, match=f"{name} is not an image: its content is neither JPEG, PNG nor TIFF"):
            read(tmp_path / name)


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg is not an image: the file is empty"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg cannot be opened: No such file"):
        read_image(tmp_path / "gone.jpg")


def test_files_may_be_read_from_several_threads(tmp_path: Path) -> None:
    pixels = ramp(3, "int16")
    path = write_tiff(tmp_path / "a.tif", pixels)
    found: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(np.array_equal(read_image(path).pixels, pixels) for _ in range(10))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 40


def test_geolocation_is_the_centre_in_the_units_of_the_crs(tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "a.tif", ramp(1, "uint8", 4, 6), crs="EPSG:32630", transform=from_origin(500000, 4000000, 10, 10)
    )
    assert read_geolocation(path) == ("EPSG:32630", 500030.0, 3999980.0)


def test_files_without_a_place_are_refused(tmp_path: Path) -> None:
    plain = write_tiff(tmp_path / "plain.tif", ramp(1, "uint8"))
    with pytest.raises(DataError, match=r"plain\.tif is a TIFF without a coordinate reference system"):
        read_geolocation(plain)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is not a GeoTIFF"):
        read_geolocation(tmp_path / "a.jpg")
