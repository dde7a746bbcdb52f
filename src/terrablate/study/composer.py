"""Composes the configs of a study's variants, one after the other, from files that are read once."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from terrablate.config.parse import parse
from terrablate.config.schema import Config
from terrablate.errors import ConfigError
from terrablate.study.plan import Compose

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.plugins.config_source import ConfigResult
    from omegaconf import DictConfig


type Files = dict[str, ConfigResult | None]
"""What stands in config files, by their paths in Hydra's search path."""


def read_files_once(loader: "ConfigLoader", files: Files | None = None) -> None:
    """Let a loader of Hydra's keep the config files that it reads.

    Args:
        loader: Hydra's.
        files: where they are kept; given to several loaders of one search path, they share what they have read.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    if isinstance(loader, ConfigLoaderImpl) and not isinstance(loader.repository, _ReadOnce):
        loader.repository = _ReadOnce(loader.repository, files)  # type: ignore[assignment]


def composer(composed: "DictConfig", loader: "ConfigLoader") -> Compose:
    """What composes and checks the config of a variant.

    Args:
        composed: the config of the whole sweep, with Hydra's own part.
        loader: Hydra's.
    """
    from omegaconf import open_dict

    from terrablate.config.messages import of_hydra

    read_files_once(loader)

    def compose(overrides: Sequence[str]) -> Config:
        try:
            config = loader.load_sweep_config(composed, list(overrides))
        except Exception as error:
            sentence = of_hydra(error)
            if sentence is None:
                raise
            raise ConfigError(sentence) from error
        with open_dict(config):
            del config["hydra"]
        return parse(config)

    return compose


class _ReadOnce:
    """Hydra's repository of config files, which forgets what it has read after each composition.

    Reading takes 40% of the time of a composition. Hydra changes what it is given, so that each gets a copy.
    """

    def __init__(self, repository: Any, files: Files | None = None) -> None:
        self._repository = repository
        self._read: Files = {} if files is None else files

    def __deepcopy__(self, memo: dict[int, Any]) -> "_ReadOnce":
        """Hydra copies the repository before each composition, since it may change the search path of the copy."""
        copied = _ReadOnce(copy.deepcopy(self._repository, memo))
        copied._read = self._read
        return copied

    def initialize_sources(self, config_search_path: "ConfigSearchPath") -> None:
        """Look in other folders from now on."""
        self._read = {}
        self._repository.initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> "ConfigResult | None":
        """A copy of what stands in a file."""
        if config_path not in self._read:
            self._read[config_path] = self._repository.load_config(config_path)
        return copy.deepcopy(self._read[config_path])

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes Hydra's own repository: launchers pickle the loader, and each process reads anew."""
        return _as_it_is, (self._repository,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)


def _as_it_is(repository: Any) -> Any:
    return repository
