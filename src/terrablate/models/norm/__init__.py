"""Normalisation surgery: take the normalisation layers of any network out, or put others in their place."""

from terrablate.models.norm.layers import LastDimBatchNorm, LastDimGroupNorm, LastDimInstanceNorm
from terrablate.models.norm.places import norm_layers
from terrablate.models.norm.statistics import statistics_layers, synchronise
from terrablate.models.norm.surgery import apply_norm

__all__ = [
    "LastDimBatchNorm",
    "LastDimGroupNorm",
    "LastDimInstanceNorm",
    "apply_norm",
    "norm_layers",
    "statistics_layers",
    "synchronise",
]
