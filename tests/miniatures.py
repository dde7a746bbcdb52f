"""Published data sets in miniature, laid out on disk as their publishers did."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

type Array = npt.NDArray[Any]

S2_SIDES = {
    "B01": 20, "B02": 120, "B03": 120, "B04": 120, "B05": 60, "B06": 60, "B07": 60, "B08": 120, "B8A": 60, "B09": 20,
    "B11": 60, "B12": 60,
}  # fmt: skip
"""Pixels a side of BigEarthNet's Sentinel-2 files."""
LABELS = (["Pastures"], ["Water bodies", "Coniferous forest"], ["Pastures", "Mixed forest", "Airports"])
"""Of BigEarthNet's patches, in turn; Airports is none of the 19."""


# --- So2Sat


def so2sat_values(count: int, seed: int = 0) -> dict[str, Array]:
    """Arrays of a So2Sat file: reflectance that grows with the class, of which there are three in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    level = 0.05 + 0.1 * labels[:, None, None, None]
    return {
        "sen1": rng.normal(0, 0.3, (count, 32, 32, 8)),
        "sen2": np.round(level + rng.uniform(0, 0.1, (count, 32, 32, 10)), 4),
        "label": np.eye(17)[labels],
    }


def write_so2sat(root: Path, version: str = "2", counts: Sequence[int] = (24, 12, 6)) -> None:
    """HDF5 files of a version: train, val, test; version 3 has no val."""
    from torchgeo.datasets import So2Sat

    files = So2Sat.filenames_by_version[version]
    for number, (split, count) in enumerate(zip(("train", "validation", "test"), counts, strict=True)):
        if split in files:
            write_so2sat_file(root / files[split], so2sat_values(count, number))


def write_so2sat_file(file: Path, arrays: dict[str, Array]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as opened:
        for name, values in arrays.items():
            opened[name] = values


# --- PatternNet


def write_patternnet(root: Path, classes: Sequence[str] = ("airplane", "beach"), count: int = 14) -> None:
    """JPEG files of 16 pixels in PatternNet/images/<class>/."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        folder = root / "PatternNet" / "images" / name
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            pixels = rng.integers(20 + 60 * label, 120 + 60 * label, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{name.replace('_', '')}{number:03d}.jpg")


# --- SAT-6


def sat6_values(train: int = 48, test: int = 12) -> dict[str, Array]:
    """Variables of SAT-6's file with MATLAB's axes: bytes that grow with the class, of which there are six in turn."""
    rng = np.random.default_rng(0)
    variables: dict[str, Array] = {}
    for split, count in (("train", train), ("test", test)):
        labels = np.arange(count) % 6
        low = 30 * labels
        variables[f"{split}_x"] = rng.integers(low, low + 60, (28, 28, 4, count)).astype(np.uint8)
        variables[f"{split}_y"] = np.eye(6, dtype=np.uint8)[:, labels]
    names = ["building", "barren_land", "trees", "grassland", "road", "water"]
    variables["annotations"] = np.array([[name, str(code)] for code, name in enumerate(names)], dtype=object)
    return variables


def write_sat6(root: Path, variables: dict[str, Array] | None = None, *, compressed: bool = True) -> Path:
    """`sat-6-full.mat` as MATLAB 5 writes it."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / "sat-6-full.mat"
    savemat(file, variables or sat6_values(), do_compression=compressed)
    return file


def write_sat6_hdf5(root: Path, variables: dict[str, Array] | None = None) -> Path:
    """`sat-6-full.mat` as MATLAB 7.3 writes it: HDF5 behind a header of 512 bytes, axes the other way round."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / "sat-6-full.mat"
    with h5py.File(file, "w", userblock_size=512) as opened:
        for name, values in (variables or sat6_values()).items():
            if name != "annotations":  # a cell array there, which nobody reads
                opened.create_dataset(name, data=values.T, compression="gzip")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with file.open("r+b") as raw:
        raw.write(header)
    return file


# --- BigEarthNet


def write_bigearthnet(root: Path, counts: Sequence[int] = (10, 6, 3), *, radar: bool = False) -> None:
    """Patches of both sensors with their lists; values of Sentinel-2 grow with the patch and the band."""
    number = 0
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        pairs = []
        for _ in range(count):
            pairs.append(_write_patch(root, number, radar=radar))
            number += 1
        (root / f"bigearthnet-{split}.csv").write_text("".join(f"{s2},{s1}\n" for s2, s1 in pairs))


def _write_patch(root: Path, number: int, *, radar: bool) -> tuple[str, str]:
    rng = np.random.default_rng(number)
    s2, s1 = f"S2A_MSIL2A_20170613T101031_87_{number}", f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_{number}"
    labels = LABELS[number % len(LABELS)]
    folder = root / "BigEarthNet-v1.0" / s2
    folder.mkdir(parents=True)
    for place, (band, side) in enumerate(S2_SIDES.items()):
        low = 100 * place + 1000 * (number % len(LABELS))
        write_tiff(folder / f"{s2}_{band}.tif", rng.integers(low, low + 100, (side, side)).astype(np.uint16))
    (folder / f"{s2}_labels_metadata.json").write_text(json.dumps({"labels": labels, "tile_source": "none"}))
    if radar:
        folder = root / "BigEarthNet-S1-v1.0" / s1
        folder.mkdir(parents=True)
        for band, level in (("VV", -8.75), ("VH", -15.25)):
            write_tiff(folder / f"{s1}_{band}.tif", np.full((120, 120), level - number, np.float32))
        (folder / f"{s1}_labels_metadata.json").write_text(json.dumps({"labels": labels, "corresponding_s2_patch": s2}))
    return s2, s1


def write_tiff(file: Path, pixels: Array) -> None:
    """A GeoTIFF of one band."""
    import rasterio
    from rasterio.transform import from_origin

    profile = {
        "driver": "GTiff", "count": 1, "height": pixels.shape[0], "width": pixels.shape[1], "dtype": pixels.dtype.name,
        "crs": "EPSG:32633", "transform": from_origin(300000, 5000000, 1200 / pixels.shape[1], 1200 / pixels.shape[0]),
    }  # fmt: skip
    with rasterio.open(file, "w", **profile) as tiff:
        tiff.write(pixels, 1)
