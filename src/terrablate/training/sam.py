"""Sharpness-aware minimisation (SAM): a step along the gradient at the worst point nearby, around any optimizer."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

ETA = 0.01
"""Added to the size of a weight by adaptive SAM, so that weights of zero move, too; the value of its paper."""

_TINY = 1e-12


class SAM(torch.optim.Optimizer):
    """Climbs to the point where the loss rises most within a ball, and steps from the old point by the gradient there.

    Foret et al. 2021, https://arxiv.org/abs/2010.01412, algorithm 1: with the gradient g at the weights w,

        e = rho g / |g|                      g and |g| over all parameters together
        w <- base optimizer's step with the gradient at w + e

    Adaptive (Kwon et al. 2021, https://arxiv.org/abs/2102.11600, algorithm 1): e = rho T^2 g / |T g|, where T is
    |w| + 0.01 for each weight, and 1 for biases and norms, so that rescaling a network changes nothing.

    Both passes must see one and the same loss. The closure runs twice, so whatever it draws (dropout, augmentation)
    must be drawn alike in the second pass, and what it counts must be counted once; `second_pass` is where the caller
    sees to both, and with `kept_buffers` to running statistics, which stay as the first pass left them.

    Under DDP both gradients are those of the global batch, because each backward pass of the closure synchronises: the
    point is the same on all devices. (The authors climb by the gradient of each device's share.) Gradients clipped in
    the closure by their norm leave e as it is, and bound the step.

    Parameter groups, state and state dict are those of the base optimizer: schedules and checkpoints work as with it.

    Args:
        base: optimizer that takes the step.
        rho: radius of the ball; 0 gives the steps of the base optimizer, to the bit.
        adaptive: measure the ball in shares of each weight.
        second_pass: makes the context in which the closure runs at the worst point.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        rho: float,
        *,
        adaptive: bool = False,
        second_pass: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(base.param_groups, base.defaults)
        self.base = base
        self.rho = rho
        self.adaptive = adaptive
        self.second_pass = second_pass
        self._share_state()

    def _share_state(self) -> None:
        self.param_groups = self.base.param_groups
        self.state = self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; calls the closure twice and returns what its first call gave: the loss at the weights themselves.

        Args:
            closure: clears the gradients, computes the loss and its gradients.

        Raises:
            ValueError: without a closure.
        """
        if closure is None:
            raise ValueError("SAM computes the loss twice a step, so it needs a closure")
        with torch.enable_grad():
            loss = closure()
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [parameter.clone() for parameter in trained]
        for parameter, offset in zip(trained, self._offsets(trained), strict=True):
            parameter.add_(offset)
        try:
            with torch.enable_grad(), self.second_pass():
                closure()
        finally:  # also when the run is interrupted
            for parameter, value in zip(trained, before, strict=True):
                parameter.copy_(value)
        self.base.step()
        return loss

    def _offsets(self, trained: list[nn.Parameter]) -> list[torch.Tensor]:
        """From the weights to the worst point of the ball around them."""
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        scales: list[torch.Tensor | float] = [
            parameter.abs() + ETA if self.adaptive and parameter.ndim > 1 else 1.0 for parameter in trained
        ]
        scaled = [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]
        length = torch.nn.utils.get_total_norm(scaled)
        return [each * scale * (self.rho / (length + _TINY)) for each, scale in zip(scaled, scales, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """That of the base optimizer; between steps there is nothing else to keep."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.base.load_state_dict(state_dict)
        self._share_state()


@contextmanager
def kept_buffers(network: nn.Module) -> Iterator[None]:
    """Run something in train mode and leave all buffers, such as running means of batch norms, as they were before.

    For a second forward pass over the same images, which would otherwise count twice.
    """
    buffers = list(network.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
