"""Checks of fine-tuning: settings that could not act on what is frozen."""

from terrablate.config.schema import BatchNorm, Config, FrozenFeatures, HeadFinetune, NativeNorm
from terrablate.errors import ConfigError

_IN_THE_BACKBONE = ("conv", "spatial", "path")


def check_finetune(config: Config) -> None:
    """Whether all settings can act under the rule of fine-tuning."""
    finetune, dropout = config.finetune, config.dropout.name
    if isinstance(finetune, HeadFinetune) and dropout in _IN_THE_BACKBONE:
        raise ConfigError(
            f"dropout={dropout}: cannot act under finetune={finetune.name}, whose frozen backbone is in eval mode;"
            " use dropout=head, or another finetune"
        )
    if isinstance(finetune, FrozenFeatures):
        _check_frozen_features(config, finetune.name)


def _check_frozen_features(config: Config, name: str) -> None:
    norm, trainer = config.norm, config.trainer
    nothing_trains = f"finetune={name} trains nothing by gradients"
    if config.aug.name != "none":
        raise ConfigError(f"aug={config.aug.name}: {nothing_trains} and takes images as they are; use aug=none")
    if config.dropout.name not in ("native", "none"):
        raise ConfigError(f"dropout={config.dropout.name}: {nothing_trains}; use dropout=native or dropout=none")
    if isinstance(norm, NativeNorm | BatchNorm) and norm.frozen:
        raise ConfigError(f"norm.frozen=true: {nothing_trains}, statistics are frozen anyway; leave it at false")
    if config.regularize.chosen:
        raise ConfigError(f"regularize={config.regularize.name}: {nothing_trains}; use regularize=[]")
    if config.schedule.schedule != "constant":
        raise ConfigError(f"schedule={config.schedule.name}: {nothing_trains}; use schedule=constant")
    if config.stop.rule != "none":
        raise ConfigError(f"stop={config.stop.name}: finetune={name} is one pass and never stops early; use stop=none")
    if trainer.strategy != "auto" or trainer.devices != 1:
        raise ConfigError(f"trainer.devices={trainer.devices}: finetune={name} runs on one device; use trainer=auto")
    if config.robustness:
        raise ConfigError(
            f"robustness=true: finetune={name} answers by a classifier outside its network, which the record does not"
            " keep; leave it at false"
        )
    if config.steps is not None:
        raise ConfigError(f"steps={config.steps}: {nothing_trains}, its budget is one pass; leave steps at null")
