"""A single run can be of no study of its own."""

from terrablate.config.schema import Config
from terrablate.errors import ConfigError


def check_single(config: Config) -> None:
    """Refuse a study without -m.

    Raises:
        ConfigError: if the config defines a study.
    """
    if config.study.is_defined:
        raise ConfigError(f"study={config.study.name}: a study is many runs; add -m")
