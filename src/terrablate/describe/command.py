"""What `describe.py` does: build the network of a config on the meta device and show what it is made of."""

import torch

from terrablate.config.schema import Config
from terrablate.describe.formats import as_csv, as_json, as_table
from terrablate.describe.layers import Description, describe
from terrablate.models.build import build
from terrablate.models.finetune import Finetuning

_FORMATS = {"json": as_json, "csv": as_csv, "table": as_table}


def describe_network(config: Config, shape: tuple[int, int, int], classes: int, form: str) -> str:
    """The layer table of a run's network, as text.

    Args:
        config: of the run.
        shape: C,H,W of its images.
        classes: their number.
        form: `table`, `json` or `csv`.

    Raises:
        ConfigError: if the network cannot take such images or batches.
    """
    with torch.device("meta"):
        network = build(config, shape[0], classes, shape[1]).network
    finetuning = Finetuning(network, config.finetune, config.norm)
    layers, totals = describe(network, shape, config.batch_size, finetuning.hold)
    return _FORMATS[form](Description(config.model.name, shape, classes, config.batch_size, layers, totals))
