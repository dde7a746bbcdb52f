"""What all tests share: configs composed in this process, tiny data, and caches that stay inside the test's folder."""

import functools
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is imported: one thread a process, and nothing of ours in the person's own cache.
os.environ["OMP_NUM_THREADS"] = "1"
_CACHE = tempfile.TemporaryDirectory(prefix="terrablate-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name

# Nothing here outlives a power cut: waiting for the disk at each checkpoint would take most of the time.
os.fsync = lambda _: None

# Nothing is installed meanwhile: Lightning would go through all packages for each trainer.
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)

import pytest  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from helpers import composed  # noqa: E402
from terrablate.config import Config, parse  # noqa: E402

TINY = ("data.train=40", "data.val=20", "data.test=20", "data.size=16")
"""Synthetic scenes that are made in no time."""


@pytest.fixture(scope="session", autouse=True)
def _cache_folder() -> Iterator[None]:
    yield
    _CACHE.cleanup()


@pytest.fixture
def compose_raw(tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose `conf/train.yaml` with overrides, as the command line does, without typing and checking it.

    Runs and packs go below `tmp_path`. The default data are tiny; overrides that are given win.
    """

    def made(*overrides: str) -> DictConfig:
        chosen = [word.removeprefix("data=") for word in overrides if word.startswith("data=")]
        tiny = TINY if not chosen or chosen[-1] in ("synthetic", "synthetic_multilabel") else ()
        folders = (f"runs_dir={tmp_path / 'runs'}", f"packs_dir={tmp_path / 'packs'}")
        return composed([*folders, *tiny, *overrides])

    return made


@pytest.fixture
def compose(compose_raw: Callable[..., DictConfig]) -> Callable[..., Config]:
    """Compose `conf/train.yaml` with overrides and parse it: `compose("model=lenet", "seed=3") -> Config`."""
    return lambda *overrides: parse(compose_raw(*overrides))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real data sets."""
    folder = os.environ.get("DATA_DIR", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set DATA_DIR to the folder that holds eurosat/ and ucmerced/")
    return Path(folder).resolve()
