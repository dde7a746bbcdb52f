"""What `evaluate.py` is told; imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.parse import typed, values_of
from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, Seed
from terrablate.config.schema import (
    BigEarthNetData,
    FolderData,
    PatternNetData,
    Sat6Data,
    So2SatData,
    SyntheticData,
    TorchgeoData,
    Trainer,
)
from terrablate.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

MOVABLE = ("root", "subfolder", "test_list", "download", "checksum", "on_error", "storage")
"""Keys of a run's own data that may be told anew: where they are now and how they are read, not what they are."""


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class NamedStudy:
    """Which study."""

    name: str | None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Settings:
    """All keys of `conf/evaluate.yaml`."""

    study: NamedStudy
    run: str | None
    split: Literal["test", "val", "train", "all"]
    allow_missing: Bool
    tta: Bool
    mc_dropout: Annotated[
        Annotated[int, Field(strict=True, ge=2)] | None,
        Field(description="null or a number of passes, a whole number of at least 2"),
    ]
    ensemble: Bool
    seed: Seed
    batch_size: Count
    trainer: Trainer
    runs_dir: str
    studies_dir: str
    packs_dir: str
    data: (
        Annotated[
            SyntheticData | TorchgeoData | FolderData | PatternNetData | So2SatData | Sat6Data | BigEarthNetData,
            Field(discriminator="source"),
        ]
        | None
    )
    moved: dict[str, Any]
    """Keys of the runs' own data that were told anew."""

    @property
    def study_folder(self) -> Path | None:
        """Of the study, which may be given by its name or by its folder."""
        name = self.study.name
        if name is None:
            return None
        return Path(name) if (Path(name) / "plan.json").is_file() else Path(self.studies_dir) / name

    @property
    def stem(self) -> str:
        """What the files are called that are written: `test`, `val_options`, `transfer-<data>`."""
        if self.data is None:
            return "test" if self.split == "test" else "val_options"
        return f"transfer-{self.data.name}" + ("" if self.split == "test" else f"-{self.split}")

    @property
    def opens(self) -> bool:
        """Whether images are looked at that were locked; figures on a run's own val are not."""
        return self.data is not None or self.split == "test"

    @property
    def options(self) -> str:
        """As a person writes them; empty for none."""
        chosen = {"tta": "true" if self.tta else "", "mc_dropout": self.mc_dropout, "ensemble": self.ensemble or ""}
        return " ".join(f"{name}={str(value).lower()}" for name, value in chosen.items() if value)


def settings_of(composed: "DictConfig") -> Settings:
    """Type and check what the command line says.

    Raises:
        ConfigError: names each wrong key, what was given and what is allowed.
    """
    given: dict[str, Any] = {"data": None} | values_of(composed) | {"moved": {}}
    if isinstance(given["data"], dict) and "source" not in given["data"]:
        given["moved"], given["data"] = given["data"], None
    settings = typed(Settings, given)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if (settings.study.name is None) == (settings.run is None):
        given = "both were given" if settings.run else "neither was given"
        raise ConfigError(f"study=<name> or run=<folder>: one of the two is needed, and {given}")
    if settings.data is None and settings.split in ("train", "all"):
        raise ConfigError(
            f"split={settings.split}: is for other data (data=...); of its own data a run has test, which is locked,"
            " and val"
        )
    for key in settings.moved:
        if key not in MOVABLE:
            raise ConfigError(
                f"data.{key}: was fixed when the runs were trained; of their own data {', '.join(MOVABLE)} may be"
                " changed, and other data are chosen with data=..."
            )
    if settings.ensemble and settings.run is not None:
        raise ConfigError("ensemble=true: one run is no ensemble; give study=<name>, whose seeds are its members")
    if settings.trainer.precision != "32":
        raise ConfigError(
            f"trainer.precision={settings.trainer.precision}: each run is evaluated in the precision that it was"
            " trained in; leave it out"
        )
    for key in ("channels_last", "compile", "deterministic"):
        if (value := getattr(settings.trainer, key)) != Trainer.__dataclass_fields__[key].default:
            raise ConfigError(f"trainer.{key}={str(value).lower()}: is an option of training; leave it out")
    if settings.trainer.devices != 1:
        raise ConfigError(
            f"trainer.devices={settings.trainer.devices}: images are evaluated on one device; use trainer=auto, cpu or"
            " gpu"
        )
