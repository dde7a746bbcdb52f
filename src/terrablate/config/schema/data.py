"""Sections of the data group."""

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, DropRate, Finite, Fraction, Name, Positive, Seed


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
