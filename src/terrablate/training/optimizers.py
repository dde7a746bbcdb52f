"""Optimizers from the config, over parameter groups that the caller has built."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from terrablate.config.schema.training import SAM as SAMSection  # noqa: N811 - the class of this name is the optimizer
from terrablate.config.schema.training import SGD, Adam, AdamW, AnyOptim, RMSprop, SAMAdamW, TimmOptim
from terrablate.errors import ConfigError
from terrablate.models.build import first_line
from terrablate.models.finetune import RateGroup
from terrablate.training.sam import SAM


def make_optimizer(
    rates: Sequence[RateGroup],
    optim: AnyOptim,
    *,
    second_pass: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> torch.optim.Optimizer:
    """The optimizer over parameters that share rates; each rate has a group that decays and one that does not.

    Args:
        rates: which parameters train, and at what share of `optim.lr`.
        optim: the section of the config.
        second_pass: for `sam`: makes the context of its second pass.
    """
    groups = []
    for group in rates:
        weights = [parameter for parameter in group.parameters if parameter.ndim > 1]
        others = [parameter for parameter in group.parameters if parameter.ndim <= 1]
        groups += [
            {
                "name": f"{group.name}: {kind}",
                "params": members,
                "lr": optim.lr * group.rate,
                "weight_decay": weight_decay_of(members[0], optim),
            }
            for kind, members in (("weights", weights), ("biases and norms", others))
            if members
        ]
    return create_optimizer(groups, optim, second_pass=second_pass)


def create_optimizer(
    param_groups: Iterable[dict[str, Any]],
    optim: AnyOptim,
    *,
    second_pass: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> torch.optim.Optimizer:
    """The optimizer that a config asks for.

    Args:
        param_groups: parameters with their `weight_decay` and, where it differs from `optim.lr`, their `lr`.
        optim: the section of the config.
        second_pass: for `sam`: makes the context of its second pass; see `terrablate.training.sam.SAM`.

    Raises:
        ConfigError: if timm refuses the arguments in `optim.kwargs`, or a fused step is asked for that would go wrong.
    """
    groups = list(param_groups)
    common: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    if _is_fused(optim, groups):  # else torch chooses: a loop over the parameters, or one over lists of them on a GPU
        common["fused"] = True
    match optim:
        case SGD():
            return _sgd(groups, optim, common)
        case Adam():
            return torch.optim.Adam(groups, betas=_betas(optim), eps=optim.eps, **common)
        case AdamW():
            return torch.optim.AdamW(groups, betas=_betas(optim), eps=optim.eps, **common)
        case RMSprop():
            return torch.optim.RMSprop(groups, alpha=optim.alpha, eps=optim.eps, momentum=optim.momentum, **common)
        case SAMSection():
            base = _sgd(groups, optim, common)
            return SAM(base, optim.rho, adaptive=optim.adaptive, second_pass=second_pass)
        case SAMAdamW():
            decoupled = torch.optim.AdamW(groups, betas=_betas(optim), eps=optim.eps, **common)
            return SAM(decoupled, optim.rho, adaptive=optim.adaptive, second_pass=second_pass)
        case TimmOptim():
            return _timm_optimizer(groups, optim)


def _is_fused(optim: AnyOptim, groups: list[dict[str, Any]]) -> bool:
    """By itself where it was seen to pay: on the CPU Adam's loop takes four to six times as long as its fused step."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    are_dense = all(map(_is_dense, parameters))
    if optim.fused is True and not are_dense:
        raise ConfigError("optim.fused=true: the network has a parameter with holes in its memory; leave it at auto")
    if optim.fused != "auto":
        return optim.fused
    is_adam = isinstance(optim, Adam | AdamW | SAMAdamW)
    return is_adam and are_dense and all(parameter.device.type == "cpu" for parameter in parameters)


def _is_dense(parameter: torch.Tensor) -> bool:
    """Whether its numbers lie side by side: torch's fused step on the CPU takes that for granted."""
    return torch.empty_like(parameter).stride() == parameter.stride()


def _sgd(groups: list[dict[str, Any]], optim: SGD | SAMSection, common: dict[str, Any]) -> torch.optim.SGD:
    """Momenta begin at 0: torch's fused step breaks where a parameter has its first gradient later than others."""
    optimizer = torch.optim.SGD(groups, momentum=optim.momentum, nesterov=optim.nesterov, **common)
    if common.get("fused") and optim.momentum:
        for parameter in (each for group in groups for each in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def weight_decay_of(parameter: nn.Parameter, optim: AnyOptim) -> float:
    """The weight decay of a parameter: none for biases and norms (one dimension), unless `optim.weight_decay_all`."""
    return optim.weight_decay if parameter.ndim > 1 or optim.weight_decay_all else 0.0


def accumulated_images(step: int, accumulate: int, *, steps: int, batch_size: int, last: int) -> int:
    """Images that the optimizer step averages over to which a batch belongs; the last of an epoch may have fewer.

    Args:
        step: of the batch, from 0.
        accumulate: batches an optimizer step.
        steps: batches of the epoch.
        batch_size: images of each batch but the last of the epoch, over all devices.
        last: images of that.
    """
    first = step // accumulate * accumulate
    end = min(first + accumulate, steps)
    return (end - first) * batch_size - (batch_size - last if end == steps else 0)


def _betas(optim: Adam | AdamW | SAMAdamW) -> tuple[float, float]:
    first, second = optim.betas
    return first, second


def _timm_optimizer(groups: list[dict[str, Any]], optim: TimmOptim) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2

    kwargs = {key: tuple(value) if isinstance(value, list) else value for key, value in optim.kwargs.items()}
    try:
        return create_optimizer_v2(groups, optim.timm_name, lr=optim.lr, weight_decay=optim.weight_decay, **kwargs)
    except (TypeError, ValueError, AssertionError, IndexError) as error:  # what the optimizers check their arguments by
        given = ", ".join(f"{key}={value}" for key, value in optim.kwargs.items()) or "no kwargs"
        raise ConfigError(
            f"optim.timm_name={optim.timm_name} with {given}: timm refuses it: {first_line(error)}"
        ) from error
