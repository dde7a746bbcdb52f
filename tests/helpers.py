"""For scripts of the tests that run in a process of their own, without pytest."""

import copy
import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from terrablate.config import Config, parse
from terrablate.config.choices import PROJECT, groups

if TYPE_CHECKING:
    from omegaconf import DictConfig

HEAVY = ("torch", "lightning", "torchgeo", "timm", "rasterio", "sklearn", "matplotlib")
"""Packages that a command does without as long as it can."""
_LIGHT = """
import runpy, sys
without, sys.argv = sys.argv[1].split(","), sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    status = end.code
heavy = sorted(set(without) & set(sys.modules))
assert not heavy, f"imported {heavy}"
sys.exit(status)
"""


def composed(overrides: Sequence[str]) -> "DictConfig":
    """`conf/train.yaml` with overrides, as Hydra composes it; each selection of choices is composed once a process.

    Hydra takes a quarter of a second for the files of all groups, which do not depend on single values: these are put
    into a copy, as Hydra does it. What has mistakes is composed from the start, for their usual errors.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from terrablate.config.resolvers import register

    register()
    choices = tuple(word for word in overrides if _takes_files(word))
    if choices not in _COMPOSED:
        _COMPOSED[choices] = composed_anew(choices)
    config = copy.deepcopy(_COMPOSED[choices])
    try:
        values = OverridesParser.create().parse_overrides([word for word in overrides if not _takes_files(word)])
        if not any(value.is_sweep_override() for value in values):
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
            return config
    except (HydraException, OmegaConfBaseException):
        pass
    return composed_anew(overrides)


def composed_anew(overrides: Sequence[str]) -> "DictConfig":
    """`conf/train.yaml` with overrides, composed by Hydra from its files."""
    from hydra import compose, initialize_config_dir

    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


_COMPOSED: dict[tuple[str, ...], "DictConfig"] = {}


@functools.cache
def _takes_files(word: str) -> bool:
    """Whether an override has a say in which files are composed."""
    key = word.split("=")[0].lstrip("+~")
    return key in groups() or "@" in key or "/" in key or key.split(".")[0] == "hydra"


def compose_in(folder: Path, *overrides: str, packs_dir: str | None = None) -> Config:
    """Compose `conf/train.yaml` in this process; runs, and packs unless told otherwise, go below a folder."""
    folders = [f"runs_dir={folder / 'runs'}", f"packs_dir={packs_dir or folder / 'packs'}"]
    return parse(composed([*folders, *overrides]))


def import_what_runs_end_with() -> None:
    """The packages that a run imports at its end, which takes longer than a tiny training: before many are forked."""
    for name in ("cleanlab.filter", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics"):
        importlib.import_module(name)


def run_train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Call `src/train.py` in a process of its own, from a folder; runs and packs go below it."""
    places = [f"{name}_dir={folder / name}" for name in ("runs", "packs", "studies")]
    command = [sys.executable, str(PROJECT / "src" / "train.py"), *overrides, *places]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run_command(
    name: str, folder: Path, *words: str, without: Collection[str] = HEAVY
) -> subprocess.CompletedProcess[str]:
    """Call a command of `src` in a process of its own, from a folder, which has the data, if any.

    Args:
        name: of the command, `describe`.
        folder: from which it is called.
        words: of the command line.
        without: packages; the process fails if it has imported one of them.
    """
    script = str(PROJECT / "src" / f"{name}.py")
    begin = ["-c", _LIGHT, ",".join(without), script] if without else [script]
    environment = os.environ | {"DATA_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, *begin, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
