"""The network of a finished run: built anew and filled with the weights that the run answers for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from terrablate.config.schema import Config
from terrablate.data.pack import Pack
from terrablate.errors import UserError, WeightsError
from terrablate.models.build import build
from terrablate.models.pruning import replay
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
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{checkpoint}: is not there; force=true trains the run anew") from error
    try:
        network = rebuilt(content, config, pack)
    except (RuntimeError, WeightsError) as error:
        raise UserError(
            f"{checkpoint}: holds the weights of another network; force=true trains the run anew"
        ) from error
    standardisation = result["normalization"]
    inputs = Inputs(config.data.scale, config.data.offset, standardisation["center"], standardisation["spread"])
    return network.eval(), inputs


def rebuilt(checkpoint: Mapping[str, Any], config: Config, pack: Pack) -> nn.Module:
    """The network of a checkpoint on the CPU: built anew, cut to the shapes that it has there, and filled.

    Args:
        checkpoint: with the `state_dict` of a `Classifier`.
        config: of its run.
        pack: of its data.

    Raises:
        WeightsError: if channels that were removed are of another network.
        RuntimeError: if the weights are.
    """
    network = build(config, len(pack.bands), len(pack.classes), pack.image_size).network
    replay(network, checkpoint, "the run")
    prefix = "network."
    state = checkpoint["state_dict"]
    network.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
    return network
