"""From a composed Hydra config to the typed one, or to one clear sentence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from terrablate.config import messages
from terrablate.config.schema import Config
from terrablate.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ADAPTER = TypeAdapter(Config)


def parse(composed: "DictConfig | dict[str, Any]", *, reads_data: bool = True) -> Config:
    """Resolve, type and cross-check a composed config.

    Args:
        composed: by Hydra, or plain values.
        reads_data: whether the data must be at hand.

    Raises:
        ConfigError: names each wrong key, what was given and what is allowed.
    """
    from terrablate.config.checks import check

    values = composed if isinstance(composed, dict) else values_of(composed)
    try:
        config = _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise ConfigError(messages.of_validation(error, values, _derived(composed))) from error
    check(config, reads_data=reads_data)
    return config


def values_of(composed: "DictConfig") -> dict[str, Any]:
    """A composed config as plain values.

    Raises:
        ConfigError: for a value that is missing, or an interpolation that does not resolve.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(messages.of_omegaconf(error)) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def typed[Kind](kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Plain values as what a command is told.

    Args:
        kind: a dataclass of pydantic.
        values: by key.

    Raises:
        ConfigError: names each wrong key, what was given and what is allowed.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise ConfigError(messages.of_validation(error, values, root=kind)) from error


def _derived(composed: "DictConfig | dict[str, Any]") -> set[str]:
    """Dotted keys of the groups whose value is an interpolation, such as `data.subset_seed: ${seed}`."""
    from omegaconf import DictConfig, OmegaConf

    if not isinstance(composed, DictConfig):
        return set()
    return {
        f"{name!s}.{key}"
        for name, section in composed.items()
        if isinstance(section, DictConfig)
        for key in map(str, section)
        if OmegaConf.is_interpolation(section, key)
    }


def plain(config: Any) -> dict[str, Any]:
    """A typed config, or a section of one, as nested dicts and lists, ready for YAML or JSON."""
    return TypeAdapter[Any](type(config)).dump_python(config, mode="json")
