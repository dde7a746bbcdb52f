"""Checks of regularize: combinations that cannot act, or not together."""

import math

from terrablate.config.schema import Config, ScratchWeights
from terrablate.config.schema.augment import CutMix, Mixup
from terrablate.config.schema.regularize import SWA, Prune
from terrablate.errors import ConfigError


def check_regularize(config: Config) -> None:
    """Whether each regulariser has what it needs."""
    section = config.regularize
    if section.l2_sp and isinstance(config.weights, ScratchWeights):
        raise ConfigError(
            f"regularize=l2_sp: there are no pretrained weights to stay near with weights={config.weights.name};"
            " choose some, such as weights=imagenet, or leave l2_sp out"
        )
    _check_averages(config)
    _check_input_gradients(config)
    if section.consistency:
        _check_consistency(config)
    if section.prune:
        _check_prune(config, section.prune)


def _check_averages(config: Config) -> None:
    section = config.regularize
    if section.ema and section.swa:
        raise ConfigError("regularize=[ema,swa]: one average only can be evaluated; leave one of them out")
    average = "ema" if section.ema else "swa" if section.swa else None
    if average and config.keep_optimizer:
        raise ConfigError(
            f"keep_optimizer=true: regularize={average} leaves the average of the weights, which no optimizer's state"
            " belongs to; leave it at false"
        )
    if section.swa and config.steps is None:
        _check_start(section.swa, config.epochs)


def _check_start(swa: SWA, epochs: int) -> None:
    averaged = epochs - max(math.ceil(swa.start * epochs), 1) + 1
    if averaged < 2:
        raise ConfigError(
            f"regularize.swa.start={swa.start:g}: with epochs={epochs} it leaves one epoch, and the mean of one is that"
            " one; start earlier, or give more epochs"
        )


def _check_input_gradients(config: Config) -> None:
    adversarial, smooth = config.regularize.adversarial, config.regularize.smooth_input_gradient
    precision = config.trainer.precision
    if adversarial and adversarial.steps == 1 and adversarial.step_size is not None:
        raise ConfigError(
            f"regularize.adversarial.step_size={adversarial.step_size:g}: with steps=1 (FGSM) the step is epsilon;"
            " leave it at null, or take more steps"
        )
    if adversarial and precision == "16":
        raise ConfigError(
            "trainer.precision=16: gradients by the image vanish in half precision, and regularize=adversarial follows"
            " them; use 32 or bf16"
        )
    if smooth and precision != "32":
        raise ConfigError(
            f"trainer.precision={precision}: regularize=smooth_input_gradient takes the gradient of a gradient, which"
            " needs full precision; use 32"
        )


def _check_consistency(config: Config) -> None:
    if config.data.train_per_class is None:
        raise ConfigError(
            "regularize=consistency: needs images without labels, which are those that data.train_per_class leaves out;"
            " give it, such as data.train_per_class=20"
        )
    single = [operation for operation in config.aug.operations if not isinstance(operation, Mixup | CutMix)]
    if config.aug.strength == 0 or not any(operation.acts for operation in single):
        raise ConfigError(
            f"regularize=consistency: needs an aug that changes single images to compare both views, and"
            f" aug={config.aug.name} does not; choose one, such as aug=all"
        )


def _check_prune(config: Config, prune: Prune) -> None:
    trainer = config.trainer
    if trainer.strategy == "ddp" or trainer.devices != 1:
        raise ConfigError(
            f"trainer.devices={trainer.devices}: regularize=prune exchanges the parameters of the network, which"
            " distributed training cannot follow; use one device, as trainer=auto does"
        )
    if prune.start > prune.end:
        raise ConfigError(
            f"regularize.prune.start={prune.start:g}: lies after regularize.prune.end={prune.end:g}; start before it"
        )
    if config.steps is None and config.debug.epochs is None and prune.amount > 0:
        _check_rounds(prune, config.epochs)


def _check_rounds(prune: Prune, epochs: int) -> None:
    if math.ceil((prune.end if prune.rounds > 1 else prune.start) * epochs - 1e-9) >= epochs:
        key, value = ("end", prune.end) if prune.rounds > 1 else ("start", prune.start)
        raise ConfigError(
            f"regularize.prune.{key}={value:g}: with epochs={epochs} no epoch would follow that trains what is"
            " left; use less, or give more epochs"
        )
    found = prune.events(epochs)
    if len(found) < prune.rounds:
        raise ConfigError(
            f"regularize.prune.rounds={prune.rounds}: between start={prune.start:g} and end={prune.end:g} of"
            f" epochs={epochs} {len(found)} epochs end; use no more rounds than that, or give more epochs"
        )
