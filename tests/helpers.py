"""For scripts of the tests that run in a process of their own, without pytest."""

from pathlib import Path

from terrablate.config import Config, parse


def compose_in(folder: Path, *overrides: str, packs_dir: str | None = None) -> Config:
    """Compose `conf/train.yaml` in this process; runs, and packs unless told otherwise, go below a folder."""
    from hydra import compose, initialize_config_dir

    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    folders = [f"runs_dir={folder / 'runs'}", f"packs_dir={packs_dir or folder / 'packs'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(compose("train", overrides=[*folders, *overrides]))
