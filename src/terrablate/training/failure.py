"""The record of a run that failed: `result.json` with the reason. No torch: a pool writes it for workers that died."""

import logging
import traceback
from pathlib import Path
from typing import Any

from terrablate.config.schema import Config
from terrablate.errors import Busy, UserError
from terrablate.training.record import FINISHED, Record

logger = logging.getLogger(__name__)

LEVEL_GROUPS = (
    "data", "model", "norm", "dropout", "aug", "weights", "finetune", "optim", "schedule", "loss",
    "regularize", "stop", "trainer", "debug", "logger",
)  # fmt: skip
"""Config groups whose choices a record names."""


def failure(record: Record, config: Config, identity: str, code: str, error: Exception) -> None:
    """Leave a record that says `failed` and why, as far as the disk allows."""
    message = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception_only(error)).strip()
    trace = None if isinstance(error, UserError) else traceback.format_exc()
    _write(record, levels(config), config.seed, message, trace, {"identity": identity, "code": code})


def failure_of_another(folder: Path, reason: str, log: str) -> bool:
    """Leave a record that says `failed` for a run whose process could not do so itself.

    Args:
        folder: of the run, which that process had claimed.
        reason: one sentence.
        log: what the process said last; stands where the traceback of a failed run does.

    Returns:
        Whether it was written: not if the run is finished, or has failed by itself, or another process holds it.
    """
    record = Record(folder)
    try:
        with record.claim():
            result, origin = record.result(), record.origin()
            if origin is None or (result is not None and result.get("status") in (*FINISHED, "failed")):
                return False
            config = _config_of(record)
            chosen, seed = (levels(config), config.seed) if config else ({}, None)
            provenance = {"identity": origin.get("identity"), "code": origin.get("code")}
            return _write(record, chosen, seed, reason, log or None, provenance)
    except Busy:
        return False
    except UserError as error:
        logger.warning("the failure could not be recorded: %s", error)
        return False


def levels(config: Config) -> dict[str, str]:
    """The choice of each config group."""
    return {group: getattr(config, group).name for group in LEVEL_GROUPS}


def _write(
    record: Record, chosen: dict[str, str], seed: int | None, error: str, trace: str | None, provenance: dict[str, Any]
) -> bool:
    content = {
        "status": "failed",
        "run_id": record.folder.name,
        "levels": chosen,
        "seed": seed,
        "error": error,
        "traceback": trace,
        "provenance": provenance,
    }
    try:
        record.write_json("result.json", content)
    except OSError as second:
        logger.warning("the failure could not be recorded: %s", second)
        return False
    return True


def _config_of(record: Record) -> Config | None:
    """The config with which a run began; None if it cannot be read."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    try:
        content = yaml.safe_load((record.folder / "config.yaml").read_text(encoding="utf-8"))
        return TypeAdapter(Config).validate_python(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError):
        return None
