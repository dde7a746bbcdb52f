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
    check_optim(config.optim, trainer)
    check_schedule(config.schedule, None if config.steps is not None else config.epochs)
