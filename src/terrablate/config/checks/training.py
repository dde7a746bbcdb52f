"""Checks of what concerns training."""

from terrablate.config.checks.optimisation import check_optim, check_schedule
from terrablate.config.schema import Config
from terrablate.errors import ConfigError


def check_training(config: Config) -> None:
    """Devices, precision, optimizer."""
    trainer = config.trainer
    if isinstance(trainer.devices, int):
        if trainer.devices > 1 and trainer.strategy != "ddp":
            raise ConfigError(f"trainer.devices={trainer.devices}: several devices need trainer=ddp")
        if trainer.devices * 2 > config.batch_size and trainer.devices > 1:
            raise ConfigError(
                f"batch_size={config.batch_size}: it is shared by {trainer.devices} devices, which need 2 images each"
            )
    elif trainer.accelerator == "cpu":
        raise ConfigError("trainer.devices=auto: the CPU has no devices to count; say how many processes, such as 2")
    if trainer.precision == "16" and trainer.accelerator == "cpu":
        raise ConfigError("trainer.precision=16: needs a GPU; on the CPU use 32 or bf16")
    if trainer.accelerator == "cpu" and not trainer.deterministic:
        raise ConfigError(
            "trainer.deterministic=false: changes nothing on the CPU, whose kernels always are deterministic here;"
            " leave it at true"
        )
    if trainer.compile is not None:
        _check_compile(config, trainer.compile)
    check_optim(config.optim, trainer)
    check_schedule(config.schedule, None if config.steps is not None else config.epochs)


def _check_compile(config: Config, mode: str) -> None:
    """What `torch.compile` cannot follow, or follows at the price of compiling anew."""
    trainer, given = config.trainer, f"trainer.compile={mode}"
    if mode == "reduce-overhead" and trainer.accelerator == "cpu":
        raise ConfigError(f"{given}: is compile=default with CUDA graphs, which the CPU does not have; use default")
    if mode == "max-autotune" and trainer.deterministic and trainer.accelerator != "cpu":
        raise ConfigError(
            f"{given}: trainer.deterministic=true forbids kernels that are chosen by their speed; add"
            " trainer.deterministic=false, or use default or reduce-overhead"
        )
    if trainer.strategy == "ddp":
        raise ConfigError(
            f"{given}: is for runs on one device; use one, as trainer=auto does, or leave trainer.compile out"
        )
    if config.finetune.rule == "frozen_features":
        raise ConfigError(f"{given}: changes nothing, since finetune={config.finetune.name} trains no network")
    if config.finetune.rule == "gradual":
        raise ConfigError(
            f"{given}: the network would be compiled anew at each stage that finetune={config.finetune.name} thaws; use"
            " another finetune, or leave trainer.compile out"
        )
    if config.regularize.prune:
        raise ConfigError(
            f"{given}: the network would be compiled anew each time that regularize=prune removes channels; leave one"
            " of them out"
        )
    if config.regularize.smooth_input_gradient:
        raise ConfigError(
            f"{given}: regularize=smooth_input_gradient takes the gradient of a gradient, which a compiled network does"
            " not have; leave one of them out"
        )
    if mode != "default" and (several := _several_passes(config)):
        raise ConfigError(
            f"{given}: its CUDA graphs use the memory of a pass again in the next one, and {several} needs several"
            " passes a step; use trainer.compile=default"
        )


def _several_passes(config: Config) -> str:
    """What takes a network more than once through a step, in words; empty for nothing.

    With gradients accumulated over graphs torch 2.9 gives wrong ones without a word, and later releases an error:
    https://github.com/pytorch/pytorch/issues/169545
    """
    if config.optim.accumulate > 1:
        return f"optim.accumulate={config.optim.accumulate}"
    if config.optim.optimizer in ("sam", "sam_adamw"):
        return f"optim={config.optim.name}"
    names = ("adversarial", "consistency")
    return next((f"regularize={name}" for name in names if getattr(config.regularize, name)), "")
