"""What stands in W&B's offline run files, read without W&B's own reader."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(folder: Path) -> list[Any]:
    """All records of a run that was closed; W&B's own process may write the last ones a moment after `finish`."""
    for _ in range(100):
        found = list(_read(folder))
        if any(record.HasField("exit") for record in found):
            break
        time.sleep(0.1)
    return found


def _read(folder: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log (blocks of 32 KiB, checksum, length and kind before each piece)."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    assert content[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def histories(folder: Path) -> list[dict[str, str]]:
    """What was logged, a dict a call, values as JSON."""
    logged = [record.history for record in records(folder) if record.HasField("history")]
    return [{item.key or "/".join(item.nested_key): item.value_json for item in each.item} for each in logged]


def summaries(folder: Path) -> dict[str, str]:
    """The summary of a run, values as JSON."""
    items = [item for each in records(folder) if each.HasField("summary") for item in each.summary.update]
    return {item.key or "/".join(item.nested_key): item.value_json for item in items}


def started(folder: Path) -> Any:
    """What the run was called and configured when it began."""
    return next(record.run for record in records(folder) if record.HasField("run"))
