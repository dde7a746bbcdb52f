"""Checks of norm, dropout and initial weights against the rest."""

from terrablate.config.schema import BatchNorm, Config, NativeNorm, ScratchWeights
from terrablate.errors import ConfigError


def check_surgery(config: Config) -> None:
    """Rates that are needed or idle, and what batch normalisation needs."""
    _check_dropout(config)
    if isinstance(config.norm, NativeNorm | BatchNorm):
        _check_batch_norm(config, config.norm)
    weights = config.weights
    if isinstance(weights, ScratchWeights) and weights.std is not None and weights.init != "normal":
        raise ConfigError(f"weights.std={weights.std}: belongs to weights.init=normal, not to {weights.init}")


def _check_dropout(config: Config) -> None:
    name, p = config.dropout.name, config.dropout.p
    if name in ("native", "none") and p is not None:
        raise ConfigError(f"dropout.p={p}: dropout={name} has no rate; choose head, conv, spatial or path")
    if name not in ("native", "none") and p is None:
        raise ConfigError(f"dropout.p: dropout={name} needs a rate between 0 and 1")


def _check_batch_norm(config: Config, norm: NativeNorm | BatchNorm) -> None:
    learns_statistics = not norm.frozen and config.finetune.rule not in ("head", "frozen_features")
    if norm.name == "batch" and config.batch_size < 2 and learns_statistics:
        raise ConfigError("batch_size=1: batch normalisation cannot learn from one image; use at least 2, or norm=none")
    if norm.frozen:
        if isinstance(config.weights, ScratchWeights):
            raise ConfigError(
                "norm.frozen=true: weights=scratch has no statistics yet to freeze; use pretrained weights, or leave it"
                " at false"
            )
        if norm.sync:
            raise ConfigError("norm.frozen=true norm.sync=true: frozen statistics are not computed; choose one of them")
        if norm.name == "native" and norm.momentum is not None:
            raise ConfigError(f"norm.momentum={norm.momentum}: norm.frozen=true keeps the statistics; leave it at null")
    if norm.sync:
        if config.trainer.devices == 1:
            raise ConfigError("norm.sync=true: needs several devices, such as trainer=ddp trainer.devices=2")
        if config.trainer.accelerator == "cpu":
            raise ConfigError("norm.sync=true: torch synchronises batch normalisation on GPUs only, not on the CPU")
