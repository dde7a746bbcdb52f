"""Which devices a machine offers to a study, found without importing torch, and what a worker on one of them sees."""

import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from terrablate.errors import ConfigError

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Device:
    """A GPU, or the CPU."""

    name: str
    visible: str
    """For CUDA_VISIBLE_DEVICES: the GPU, or nothing."""
    slots: int
    """Workers on it."""

    def environment(self) -> dict[str, str]:
        """What a worker's environment has besides that of its parent.

        On a GPU the number of threads is left alone: it belongs to the identity of a run, which must not depend on how
        many slots there are. For the same reason a run on the CPU has one thread (`job.run_job`).
        """
        threads = {} if self.visible else dict.fromkeys(_ONE_THREAD, "1")
        return {"CUDA_VISIBLE_DEVICES": self.visible, **threads}


def find_devices(
    wanted: Literal["auto", "cpu"] | Sequence[int] = "auto", slots: Literal["auto"] | int = "auto"
) -> list[Device]:
    """The devices to use.

    Args:
        wanted: all GPUs, or the CPU where there is none; the CPU; or GPUs by number, among those that
            CUDA_VISIBLE_DEVICES leaves.
        slots: workers on each; else one a GPU, and on the CPU one a core.

    Raises:
        ConfigError: for a GPU that is not there, or keys that make no sense.
    """
    if slots != "auto" and (type(slots) is not int or slots < 1):
        raise ConfigError(f"hydra.launcher.slots_per_device={slots}: expected a whole number of at least 1, or auto")
    found = [] if wanted == "cpu" else visible_gpus()
    if wanted in ("auto", "cpu"):
        if not found:
            return [Device("cpu", "", cores() if slots == "auto" else slots)]
        numbers: Sequence[int] = range(len(found))
    else:
        numbers = _numbers(wanted, len(found))
    return [Device(f"gpu{number}", found[number], 1 if slots == "auto" else slots) for number in numbers]


def _numbers(wanted: str | Sequence[int], present: int) -> Sequence[int]:
    whole = not isinstance(wanted, str) and all(type(number) is int for number in wanted)
    if not whole or not wanted or len(set(wanted)) < len(wanted):
        raise ConfigError(f"hydra.launcher.devices={wanted}: expected auto, cpu, or different numbers of GPUs: [0,1]")
    wrong = [number for number in wanted if not 0 <= int(number) < present]
    if wrong:
        there = f"there are {present} GPUs, counted from 0" if present else "there is no GPU"
        raise ConfigError(f"hydra.launcher.devices={list(wanted)}: {there}")
    return [int(number) for number in wanted]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        query = [command, "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # there is a driver's tool and no device
        return []
    present = [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None or not present:
        return present
    chosen: list[str] = []
    for name in map(str.strip, allowed.split(",")):
        if not name or (name.lstrip("-").isdigit() and name not in present):  # CUDA stops at the first that is wrong
            break
        chosen.append(name)
    return chosen


def cores() -> int:
    """Cores that this process may use: its affinity, or fewer where a container's quota says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, _quota())))


def _quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float:
    """Cores that the control groups of this process grant; infinite where none limits them."""
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.is_file() else []
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    granted = math.inf
    folder = root / own
    for place in (folder, *folder.parents):
        if not place.is_relative_to(root):
            break
        try:
            quota, period = (place / "cpu.max").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            granted = min(granted, int(quota) / int(period))
    try:  # version 1 of control groups
        quota = (root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii")
        period = (root / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")
    except OSError:
        return granted
    return min(granted, int(quota) / int(period)) if int(quota) > 0 else granted
