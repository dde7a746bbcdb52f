"""Checks of what logs the curves."""

from importlib.util import find_spec

from terrablate.config.schema import Config
from terrablate.errors import ConfigError


def check_logger(config: Config) -> None:
    """Refuse a logger whose package is not there.

    Raises:
        ConfigError: names it, and how to get it.
    """
    if config.logger.name == "tensorboard" and find_spec("tensorboard") is None:
        raise ConfigError(
            "logger=tensorboard: is not installed; it comes with the extra 'tensorboard': uv sync --extra tensorboard"
        )
