"""The first convolution of pretrained weights, fitted to the bands of the data."""

from collections.abc import Sequence

import torch
from torch import nn

from terrablate.config.schema.network import Stem
from terrablate.errors import WeightsError


def stem_name(network: nn.Module) -> str | None:
    """Name of the weight of the first convolution: the one that sees the bands."""
    return next((f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)), None)


def map_bands(value: torch.Tensor, bands: Sequence[str], weight_bands: Sequence[str]) -> torch.Tensor:
    """Give each band the filters that the weights have for it; bands that they do not know start at zero.

    So the network starts as it was trained, and learns to use the others.

    Args:
        value: O,C,H,W filters, of `weight_bands`.
        bands: names of the data's bands, in order.
        weight_bands: names of the weights' bands, in order.

    Returns:
        O,C',H,W filters, of `bands`.
    """
    mapped = value.new_zeros(value.shape[0], len(bands), *value.shape[2:])
    for position, band in enumerate(bands):
        if band in weight_bands:
            mapped[:, position] = value[:, list(weight_bands).index(band)]
    return mapped


def mean_bands(value: torch.Tensor, channels: int) -> torch.Tensor:
    """Give every band the mean of the filters over their bands, scaled so that the activations keep their magnitude.

    Args:
        value: O,C,H,W filters.
        channels: C', how many bands the data have.

    Returns:
        O,C',H,W filters: mean over C, times C / C'.
    """
    mean = value.mean(dim=1, keepdim=True) * (value.shape[1] / channels)
    return mean.expand(-1, channels, -1, -1).clone()


def repeat_bands(value: torch.Tensor, channels: int) -> torch.Tensor:
    """Give the bands the filters in turn, from the first again after the last, scaled as by `mean_bands`.

    timm fits its weights to other band counts in this way.

    Args:
        value: O,C,H,W filters.
        channels: C', how many bands the data have.

    Returns:
        O,C',H,W filters: those of band c modulo C, times C / C'.
    """
    order = torch.arange(channels) % value.shape[1]
    return value[:, order] * (value.shape[1] / channels)


def adapt_stem(
    value: torch.Tensor,
    like: torch.Tensor,
    *,
    stem: Stem,
    bands: Sequence[str],
    weight_bands: Sequence[str] | None,
    origin: str,
) -> tuple[torch.Tensor | None, str | None]:
    """Fit the filters of weights to the bands of the data.

    `map` leaves filters of the same bands in the same order as they are; `mean`, `repeat` and `random` act also then.

    Args:
        value: O,C,H,W filters of the weights.
        like: O,C',H,W filters of the network, of the same O,H,W.
        stem: how.
        bands: canonical names of the data's bands, in order.
        weight_bands: canonical names of the weights' bands, in order; None if unknown.
        origin: of the weights, for messages.

    Returns:
        The filters, None where they stay as initialised; and what was done, None for nothing.

    Raises:
        WeightsError: if the weights' bands are unknown, do not fit the filters, or none is among the data's.
    """
    channels = like.shape[1]
    match stem:
        case "mean":
            return mean_bands(value, channels), f"the mean of {value.shape[1]} bands for each of {channels}"
        case "repeat":
            return repeat_bands(value, channels), f"{value.shape[1]} bands repeated to {channels}"
        case "random":
            return None, "left as initialised (weights.stem=random)"
    if weight_bands is None:
        if value.shape == like.shape:
            return value, None
        raise WeightsError(
            f"weights: {origin} expects {value.shape[1]} bands, the data have {len(bands)}; say which they are with"
            " weights.bands=[...], or use weights.stem=mean, repeat or random"
        )
    if value.shape[1] != len(weight_bands):
        raise WeightsError(
            f"weights: {origin} has a first convolution of {value.shape[1]} bands, which does not fit the"
            f" {len(weight_bands)} bands {', '.join(weight_bands)}"
        )
    if list(weight_bands) == list(bands):
        return value, None
    if not set(bands) & set(weight_bands):
        raise WeightsError(
            f"weights: {origin} was trained on the bands {', '.join(weight_bands)}, of which the data have none"
            f" (they have {', '.join(bands)}); weights.bands=[...] says which bands a file expects, and"
            " weights.stem=mean, repeat or random needs no names"
        )
    return map_bands(value, bands, weight_bands), (
        f"mapped by band ({', '.join(band for band in bands if band in weight_bands)})"
    )
