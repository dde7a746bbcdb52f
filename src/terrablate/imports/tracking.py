"""Imports timm's helpers for scripts as if wandb were not installed, which only timm's own training script uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_wandb() -> Iterator[None]:
    """Let `import wandb` fail for a while, unless it is there already."""
    if "wandb" in sys.modules:
        yield
        return
    sys.modules["wandb"] = None  # type: ignore[assignment]  # as Python's import takes it
    try:
        yield
    finally:
        del sys.modules["wandb"]
