"""The table of all networks in `conf/model`: parameters and multiply-accumulates, at small chips and at home."""

import csv
import io
import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from omegaconf import OmegaConf

from terrablate.config.choices import Choice, choices
from terrablate.config.parse import parse
from terrablate.config.schema import AlexNetModel, CifarResNetModel, Config, Model, TimmModel, TorchvisionModel
from terrablate.describe.trace import trace
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.sizes import smallest_size

_CHIP = (13, 64, 10)
"""Bands, side and classes of the chips that this project is made for, EuroSAT's."""
_LARGE = 512
"""Side of images that every network takes."""


@dataclass(frozen=True)
class Network:
    """A row of the table."""

    name: str
    parameters: int | None
    """At 13x64x64 with 10 classes; None if it cannot take such images."""
    macs: int | None
    smallest_size: int | None
    """Side in pixels of the smallest images; only where 64 are too few."""
    native_size: int | None
    """Side in pixels of the images that it was made for; None if it was made for any."""
    native_parameters: int | None
    """At its native size, with 3 bands and 1,000 classes."""
    native_macs: int | None
    published_weights: str | None
    """Who publishes weights trained on ImageNet: timm or torchvision."""
    card: str


def networks_table(values: dict[str, Any], form: str) -> str:
    """The table of all networks as text.

    Args:
        values: of a composed config, whose network is replaced by each in turn.
        form: `table` for Markdown, `json` or `csv`.
    """
    networks = [describe_choice(choice, values) for choice in choices("model")]
    match form:
        case "json":
            return json.dumps([asdict(network) for network in networks], indent=2)
        case "csv":
            text = io.StringIO()
            writer = csv.DictWriter(text, [field.name for field in fields(Network)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(network) for network in networks)
            return text.getvalue().rstrip("\n")
        case _:
            return as_markdown(networks)


def as_markdown(networks: list[Network]) -> str:
    """Figures of the chips first, since these are what a person will train on."""
    lines = [
        "| `model` | parameters | MACs | native size | parameters | MACs | weights | what it is |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for network in networks:
        small = (_millions(network.parameters), _millions(network.macs))
        if network.parameters is None:
            small = (f"needs {network.smallest_size} px", "")
        native = (str(network.native_size or ""), _millions(network.native_parameters), _millions(network.native_macs))
        cells = (f"`{network.name}`", *small, *native, network.published_weights or "", network.card)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def describe_choice(choice: Choice, values: dict[str, Any]) -> Network:
    """Build a choice of the group `model` on the meta device at both sizes.

    Args:
        choice: of the group; its file must be complete by itself.
        values: of a composed config, whose network is replaced.

    Raises:
        ConfigError: if it cannot be built, for another reason than the size of the chips.
    """
    values = {**values, "model": OmegaConf.to_container(OmegaConf.load(choice.path), resolve=True)}
    model = _config(values, _LARGE).model
    small, smallest = None, None
    try:
        small = _costs(values, *_CHIP)
    except ConfigError:
        smallest = smallest_size(model)
        if smallest is None or smallest <= _CHIP[1]:
            raise
    native = native_size(model)
    at_home = _costs(values, 3, native, 1000) if native else None
    return Network(
        name=choice.name,
        parameters=small[0] if small else None,
        macs=small[1] if small else None,
        smallest_size=smallest,
        native_size=native,
        native_parameters=at_home[0] if at_home else None,
        native_macs=at_home[1] if at_home else None,
        published_weights=_publisher(model),
        card=re.split(r"(?<=\.)\s+(?=[A-Z])", choice.card)[0],
    )


def native_size(model: Model) -> int | None:
    """Side in pixels of the images that a network was made for, as its library says."""
    match model:
        case TimmModel():
            from timm.models import get_pretrained_cfg

            pretrained = get_pretrained_cfg(model.timm_name)
            return None if pretrained is None else int(pretrained.input_size[-1])
        case TorchvisionModel():
            from torchvision.models import get_model_weights

            return int(get_model_weights(model.torchvision_name).DEFAULT.transforms().crop_size[0])
        case AlexNetModel():
            return 227
        case CifarResNetModel():
            return 32
    return None


def _config(values: dict[str, Any], size: int) -> Config:
    return parse({**values, "data": {**values["data"], "image_size": size}}, reads_data=False)


def _costs(values: dict[str, Any], bands: int, size: int, classes: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates."""
    with torch.device("meta"):
        network = build(_config(values, size), bands, classes, size).network
    calls = trace(network, torch.empty(1, bands, size, size, device="meta"))
    return sum(value.numel() for value in network.parameters()), sum(call.macs for call in calls)


def _publisher(model: Model) -> str | None:
    match model:
        case TimmModel():
            from terrablate.models.timm_index import pretrained_tags

            return "timm" if pretrained_tags(model.timm_name) else None
        case TorchvisionModel():
            from terrablate.models.torchvision_index import pretrained_tags

            return "torchvision" if pretrained_tags(model.torchvision_name) else None
    return None


def _millions(count: int | None) -> str:
    """Such as 138 M, 11.2 M or 0.27 M."""
    if count is None:
        return ""
    digits = 0 if count >= 99.95e6 else 1 if count >= 9.995e6 else 2 if count >= 0.0995e6 else 3
    return f"{count / 1e6:,.{digits}f} M"
