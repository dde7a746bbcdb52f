"""The network of a finished run: built anew and filled with the weights that the run answers for."""

import torch
from torch import nn

from terrablate.config.schema import Config
from terrablate.data.pack import Pack
from terrablate.errors import UserError
from terrablate.models.build import build
from terrablate.training.inputs import Inputs
from terrablate.training.record import Record


def deployed(record: Record, config: Config, pack: Pack) -> tuple[nn.Module, Inputs]:
    """The deployed network of a finished run in eval mode on the CPU, and what stands before it.

    Args:
        record: finished, with `deployed` in its result.
        config: of the run.
        pack: of its data.

    Raises:
        UserError: if the record has no such weights, or they are of another network.
    """
    result = record.result()
    if result is None or result.get("deployed") is None:
        raise UserError(f"{record.folder}: the run has no deployed weights; train it first")
    checkpoint = record.best_checkpoint if result["deployed"]["which"] == "best" else record.last_checkpoint
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except FileNotFoundError as error:
        raise UserError(f"{checkpoint}: is not there; force=true trains the run anew") from error
    prefix = "network."
    network = build(config, len(pack.bands), len(pack.classes), pack.image_size).network
    try:
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
    except RuntimeError as error:
        raise UserError(
            f"{checkpoint}: holds the weights of another network; force=true trains the run anew"
        ) from error
    standardisation = result["normalization"]
    inputs = Inputs(config.data.scale, config.data.offset, standardisation["center"], standardisation["spread"])
    return network.eval(), inputs
