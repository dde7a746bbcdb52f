"""Checks across groups: combinations that are well typed and cannot work. No torch, no data read."""

from terrablate.config.checks.augment import check_augment
from terrablate.config.checks.data import check_data, selected_bands
from terrablate.config.checks.debug import check_debug, check_lr_find
from terrablate.config.checks.finetune import check_finetune
from terrablate.config.checks.labels import check_labels
from terrablate.config.checks.logger import check_logger
from terrablate.config.checks.network import SMALLEST_SIZE, check_network
from terrablate.config.checks.regularize import check_regularize
from terrablate.config.checks.surgery import check_surgery
from terrablate.config.checks.training import check_training
from terrablate.config.checks.weights import check_weights, run_folder
from terrablate.config.schema import Config

__all__ = ["SMALLEST_SIZE", "check", "run_folder", "selected_bands"]


def check(config: Config, *, reads_data: bool = True) -> None:
    """Refuse what cannot work.

    Args:
        config: of a run.
        reads_data: whether the data must be at hand.

    Raises:
        ConfigError: names the keys, what was given and what is allowed.
    """
    check_data(config, reads_data=reads_data)
    if reads_data:  # else nothing is trained, no objective has to fit, and nothing is logged
        check_labels(config)
        check_logger(config)
    check_network(config)
    check_surgery(config)
    check_weights(config)
    check_finetune(config)
    check_augment(config)
    check_training(config)
    check_debug(config)
    check_lr_find(config)
    check_regularize(config)
