"""What makes a run the same run: its config without the neutral, its data, its weights, what changes its digits."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from terrablate.config.schema import Config

_PACKAGE = Path(__file__).resolve().parents[1]
_CODE = ("data", "augment", "models", "training")
"""Folders whose sources decide what a run gives."""

_ELSEWHERE = {
    "": {"runs_dir", "packs_dir", "force", "code", "keep_optimizer", "suspects", "robustness", "lr_find", "logger",
        "monitor", "study", "studies_dir"},
    "data": {
        "root", "subfolder", "download", "checksum", "storage", "native_size", "train_list", "val_list", "group_csv",
        "label_noise", "sha256",
    },
    "trainer": {"name", "accelerator", "devices", "strategy", "threads", "checkpoint_seconds"},
    "weights": {"path", "file", "run", "sha256"},
    "debug": {"name"},
}  # fmt: skip
"""Keys that do not change what is trained, or that the data fingerprint, the weights' digest and the hardware state."""


type Precision = Literal["32", "bf16", "16"]


@dataclass(frozen=True)
class Hardware:
    """What changes the digits of a run besides its config."""

    accelerator: str
    world_size: int
    precision: Precision
    threads: int


def identity(config: Config, data_fingerprint: str, weights_digest: str | None, hardware: Hardware) -> str:
    """Hex digest that two runs share if and only if they must give the same digits under the same code."""
    parts = {
        "config": _essential(config),
        "data": data_fingerprint,
        "weights": weights_digest,
        "hardware": dataclasses.asdict(hardware),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def config_digest(config: Config) -> str:
    """Hex digest of what a config alone says of a run's identity; machine, data and weights are not looked at."""
    trainer = config.trainer
    hardware = [trainer.accelerator, trainer.devices, trainer.precision, trainer.threads]
    return hashlib.sha256(json.dumps([_essential(config), hardware], sort_keys=True).encode()).hexdigest()


def run_id(config: Config, digest: str) -> str:
    """A readable name for the folder and for W&B; unique by the digest at its end."""
    return f"{config.data.name}-{config.model.name}-{config.aug.name}-s{config.seed}-{digest[:10]}"


def code_identity() -> str:
    """Hex digest of the sources that decide what a run gives."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for file in sorted((_PACKAGE / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(_PACKAGE).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _essential(config: Config) -> dict[str, Any]:
    """The config without keys at their neutral default, and without those that only say where or how fast."""
    found = {}
    for field in dataclasses.fields(config):
        if field.name in _ELSEWHERE[""]:
            continue
        value = getattr(config, field.name)
        found[field.name] = _section(value, _ELSEWHERE.get(field.name, set())) if _is_section(value) else value
    if config.steps is not None:
        del found["epochs"]  # replaced by steps
    return {key: value for key, value in found.items() if value is not None and value != {}}


def _section(section: Any, left_out: set[str]) -> dict[str, Any]:
    kept = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if field.name in left_out or _neutral(field, value):
            continue
        if _is_section(value):
            value = _section(value, set())
        elif isinstance(value, list):
            value = [dataclasses.asdict(item) if _is_section(item) else item for item in value]
        kept[field.name] = value
    return kept


def _is_section(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _neutral(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)
