"""Which code and which package versions made a result."""

import functools
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "torch",
    "lightning",
    "torchmetrics",
    "timm",
    "torchgeo",
    "torchvision",
    "numpy",
    "hydra-core",
    "terrablate",
)


@functools.cache
def provenance() -> dict[str, Any]:
    """Git commit, whether the tree was dirty (None outside a checkout), and versions; as this process first saw."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": _dirty(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _dirty() -> bool | None:
    status = _git("status", "--porcelain", "--untracked-files=no")
    return None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
