"""Stand-ins for trainings, run by workers in tests: each does what its overrides say. Imports no torch."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from terrablate.errors import Busy, ConfigError
from terrablate.study.outcome import Outcome
from terrablate.training.record import Record

FOREVER = 600


def run(overrides: Sequence[str], environment: Mapping[str, str | None]) -> Outcome:
    """`do=kill` dies, `do=sleep` takes long, `value=0.5` is the number of a run that ends well, ..."""
    words = dict(word.split("=", 1) for word in overrides)
    folder = Path(words["folder"]) if "folder" in words else Path()
    if "note" in words:
        (folder / f"began-{words['note']}").write_text(str(os.getpid()))
    match words.get("do"):
        case "kill":
            sys.stderr.write("my last words\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill_in_record":
            with Record(folder).claim():
                Record(folder).write_json("run.json", {"identity": "i", "code": "c"})
                os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "sleep":
            with Record(folder / words.get("record", "record")).claim():
                Record(folder / words.get("record", "record")).write_json("run.json", {"identity": "i", "code": "c"})
                (folder / "asleep").write_text(str(os.getpid()))
                time.sleep(FOREVER)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER})"])
            (folder / "child").write_text(str(child.pid))
            (folder / "asleep").write_text(str(os.getpid()))
            while True:
                time.sleep(FOREVER)
        case "memory":
            _use_memory(folder, words["name"])
        case "no_memory":
            raise MemoryError
        case "busy":
            seen = folder / "seen"
            seen.write_text(seen.read_text() + "x" if seen.exists() else "x")
            if len(seen.read_text()) < 3:
                raise Busy("another process is training this run")
        case "refuse":
            raise ConfigError("optim.lr=fast: expected a number")
        case "break":
            raise RuntimeError("the machine is on fire")
        case "environment":
            seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
            return Outcome(reason=f"{seen} {dict(environment)} {os.getpid()}")
    return Outcome(float(words.get("value", "nan")))


def _use_memory(folder: Path, name: str) -> None:
    """Fails as torch does unless it is the only one; waits so long that others can begin."""
    mine = folder / f"uses-{name}"
    mine.write_text("")
    try:
        together = len(list(folder.glob("uses-*"))) > 1
        end = time.monotonic() + FOREVER
        while not together and not (folder / "tried").exists() and time.monotonic() < end:
            together = len(list(folder.glob("uses-*"))) > 1
        if together:
            (folder / "tried").write_text("")
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    finally:
        mine.unlink()


def broken(overrides: Sequence[str], environment: Mapping[str, str | None]) -> Outcome:
    """Never called: a name to get wrong."""
    raise AssertionError
