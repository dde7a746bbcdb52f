"""Processes that compete for claims; a module of its own, so that spawned processes can import it."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from terrablate.errors import Busy
from terrablate.training.claim import NAME, Claim, Owner

DEAD = 2**22 + 1
"""No process has this id: it is above the kernel's limit."""


def plant(folder: Path, **owner: Any) -> Path:
    """A claim as another process would have left it: by default a dead one of this machine."""
    content = {**vars(Owner.this()), "pid": DEAD, "token": "planted", **owner}
    (folder / NAME).mkdir(parents=True)
    file = folder / NAME / f"{content['token']}.json"
    file.write_text(json.dumps(content))
    return file


def race(base: Path, rounds: int, barrier: Any, results: Any) -> None:
    """Try for each claim at the same moment as the others, and hold it until all have tried."""
    won = []
    for number in range(rounds):
        claim = Claim(base / str(number))
        barrier.wait()
        try:
            claim.__enter__()
        except Busy:
            barrier.wait()
            continue
        won.append(number)
        barrier.wait()
        claim.__exit__(None, None, None)
    results.put(won)


def enter_and_abandon(folder: Path, times: int, results: Any) -> None:
    """Hold one claim again and again, and leave every second one as a process does that is killed."""
    entered, clashes = 0, 0
    marker = folder / "inside"
    while entered < times:
        claim = Claim(folder)
        with suppress(Busy):
            claim.__enter__()
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                marker.unlink()
            except FileExistsError:
                clashes += 1
            entered += 1
            if entered % 2:
                held = folder / NAME / f"{claim._owner.token}.json"
                held.write_text(json.dumps({**vars(claim._owner), "pid": DEAD}))
            else:
                claim.__exit__(None, None, None)
    results.put(clashes)
