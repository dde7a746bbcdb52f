"""Running statistics: which layers keep them, and how several processes share those of their batches."""

from typing import cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from terrablate.models.norm.layers import LastDimBatchNorm, SyncLastDimBatchNorm, append


def statistics_layers(network: nn.Module) -> list[nn.Module]:
    """All layers with running statistics, which move in train mode and are used in eval mode.

    To freeze them, set `layer.training = False` on each; `layer.eval()` would reach the dropout that timm fuses
    with some.
    """
    return [layer for layer in network.modules() if isinstance(getattr(layer, "running_var", None), torch.Tensor)]


def synchronise(network: nn.Module) -> int:
    """Let batch normalisation use the statistics of all processes' images, in place (for distributed training).

    Parameters, buffers and their names stay. In a single process, and in eval mode, the layers do as before.

    Args:
        network: after surgery and loading of weights, before it is handed to DistributedDataParallel. It can only
            train on GPUs then.

    Returns:
        How many layers were converted.
    """
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm)
    ]
    for parent, name, layer in found:
        setattr(parent, name, _synchronised(layer))
    return len(found)


def _synchronised(layer: _BatchNorm) -> nn.Module:
    from timm.layers import BatchNormAct2d, convert_sync_batchnorm

    if isinstance(layer, BatchNormAct2d):
        return cast(nn.Module, convert_sync_batchnorm(layer))
    kind = SyncLastDimBatchNorm if isinstance(layer, LastDimBatchNorm) else nn.SyncBatchNorm
    new = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    if layer.affine:
        new.weight, new.bias = layer.weight, layer.bias
    new.running_mean, new.running_var = layer.running_mean, layer.running_var
    new.num_batches_tracked = layer.num_batches_tracked
    for name, child in layer.named_children():
        append(new, name, child)
    return new.train(layer.training)
