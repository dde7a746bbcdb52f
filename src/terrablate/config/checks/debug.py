"""Checks of what is not training as usual: debug runs and the learning-rate range test."""

from terrablate.config.schema import Config, EarlyStop, FrozenFeatures
from terrablate.errors import ConfigError


def check_debug(config: Config) -> None:
    """Refuse a debug run that could not show what it is for.

    Raises:
        ConfigError: names the keys, what was given and what is allowed.
    """
    debug = config.debug
    if debug.by_heart and config.data.label_noise is not None:
        raise ConfigError(
            f"debug.by_heart=true: asks whether true labels are learnt by heart, and"
            f" data.label_noise={config.data.label_noise} trains on wrong ones; leave it at null"
        )
    if debug.by_heart and isinstance(config.stop, EarlyStop):
        raise ConfigError(
            f"debug.by_heart=true: stop={config.stop.name} ends a run that learns by heart too soon; use stop=none, or"
            " stop=fitted stop.accuracy=1.0"
        )
    if debug.profile_steps is not None and isinstance(config.finetune, FrozenFeatures):
        raise ConfigError(
            f"debug.profile_steps={debug.profile_steps}: finetune={config.finetune.name} takes no training steps that"
            " could be measured; leave it at null"
        )


def check_lr_find(config: Config) -> None:
    """Refuse a learning-rate range test where there are no steps to take, or that is asked for something else.

    Raises:
        ConfigError: names the keys, what was given and what is allowed.
    """
    if not config.lr_find:
        return
    if config.trainer.devices != 1:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: lr_find=true runs on one device; the batch is the same there,"
            " so that its suggestion holds for several, too"
        )
    if isinstance(config.finetune, FrozenFeatures):
        raise ConfigError(f"lr_find=true: finetune={config.finetune.name} has no learning rate")
    for key in ("force", "robustness"):
        if getattr(config, key):
            raise ConfigError(f"{key}=true: lr_find=true trains nothing that it could act on; give one of the two")
