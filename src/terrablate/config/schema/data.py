"""Sections of the data group."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import (
    FORBID_UNKNOWN,
    Bool,
    Count,
    DropRate,
    Finite,
    Fraction,
    Name,
    Part,
    Positive,
    Seed,
)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Data:
    """Keys that every data source shares."""

    name: Name
    root: str
    subfolder: str = ""
    bands: Annotated[str | list[str], Field(description="all, rgb or a list of band names")]
    band_names: list[str] | None = None
    rgb: list[str] | None = None
    scale: Positive
    offset: Finite = 0.0
    image_size: Annotated[int, Strict(), Field(ge=8)] | None = None
    native_size: Count | None = None
    train_per_class: Count | None = None
    val_per_class: Count | None = None
    split_seed: Seed = 0
    subset_seed: Seed
    label_noise: Annotated[
        DropRate | str | None, Field(description="null, a rate from 0 to less than 1, or the path of a CSV file")
    ] = None
    imbalance: Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)] | None = None
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    labels: Literal["one", "several"] = "one"
    normalize: Literal["auto", "dataset", "imagenet", "minmax", "percentile", "none"]
    on_error: Literal["raise", "skip"] = "raise"
    storage: Literal["auto", "mmap", "ram", "device"] = "auto"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SyntheticData(Data):
    """Procedurally generated scenes."""

    source: Literal["synthetic"]
    train: Count
    val: Count
    test: Count
    size: Annotated[int, Strict(), Field(ge=16)]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class TorchgeoData(Data):
    """A dataset class of torchgeo."""

    source: Literal["torchgeo"]
    dataset: str
    download: Bool = False
    checksum: Bool = True


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class FolderData(Data):
    """A person's own images."""

    source: Literal["folder"]
    train_list: str | None = None
    val_list: str | None = None
    test_list: str | None = None
    fractions: Annotated[list[Fraction], Field(min_length=3, max_length=3)]
    split_by: Literal["sample", "group", "block"]
    group_pattern: str | None = None
    group_csv: str | None = None
    block_size: Positive | None = None
    fold: Annotated[int, Strict(), Field(ge=0)] | None = None
    folds: Annotated[int, Strict(), Field(ge=2)] | None = None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class PatternNetData(Data):
    """PatternNet, whose splits are drawn here."""

    title: ClassVar[str] = "PatternNet"
    source: Literal["patternnet"]
    download: Bool = False
    checksum: Bool = True
    fractions: Annotated[list[Fraction], Field(min_length=3, max_length=3)]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class So2SatData(Data):
    """So2Sat LCZ42 in one of its versions."""

    title: ClassVar[str] = "So2Sat"
    source: Literal["so2sat"]
    version: Literal[2, "3_random", "3_block", "3_culture_10"] = 2
    val_fraction: Part | None = None
    checksum: Bool = True


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Sat6Data(Data):
    """SAT-6, whose val is drawn from train."""

    title: ClassVar[str] = "SAT-6"
    source: Literal["sat6"]
    val_fraction: Part
    sha256: str | None = None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class BigEarthNetData(Data):
    """BigEarthNet, with several labels an image."""

    title: ClassVar[str] = "BigEarthNet"
    source: Literal["bigearthnet"]
    num_classes: Literal[19, 43]
    download: Bool = False
    checksum: Bool = True


PublishedData = TorchgeoData | PatternNetData | So2SatData | Sat6Data | BigEarthNetData
"""Data sets that somebody published, each in a folder of its own."""
