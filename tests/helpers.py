"""For scripts of the tests that run in a process of their own, without pytest."""

import os
import subprocess
import sys
from pathlib import Path

from terrablate.config import Config, parse
from terrablate.config.choices import PROJECT


def compose_in(folder: Path, *overrides: str, packs_dir: str | None = None) -> Config:
    """Compose `conf/train.yaml` in this process; runs, and packs unless told otherwise, go below a folder."""
    from hydra import compose, initialize_config_dir

    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    folders = [f"runs_dir={folder / 'runs'}", f"packs_dir={packs_dir or folder / 'packs'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(compose("train", overrides=[*folders, *overrides]))


def run_train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Call `src/train.py` in a process of its own, from a folder; runs and packs go below it."""
    places = [f"{name}_dir={folder / name}" for name in ("runs", "packs", "studies")]
    command = [sys.executable, str(PROJECT / "src" / "train.py"), *overrides, *places]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
