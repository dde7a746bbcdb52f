"""OmegaConf resolvers for places: `${project:runs}` and `${cache:packs}`."""

import os
from pathlib import Path

from omegaconf import OmegaConf

from terrablate.config.choices import PROJECT


def cache_folder() -> Path:
    """The user's cache folder for terrablate: `$XDG_CACHE_HOME/terrablate`, else `~/.cache/terrablate`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "terrablate"


def register() -> None:
    """Make the resolvers known to OmegaConf; may be called more than once."""
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)
    OmegaConf.register_new_resolver("cache", lambda path: str(cache_folder() / path), replace=True)
