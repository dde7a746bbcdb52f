"""Regularisation by gradients with respect to the images: adversarial training, smooth input gradients.

Images are as the network takes them: where they are standardised, a step of 1 is one deviation of a band.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

type ImageLosses = Callable[[torch.Tensor], torch.Tensor]
"""Images N,C,H,W to the loss of each, N."""


def fgsm(images: torch.Tensor, losses: ImageLosses, epsilon: float) -> torch.Tensor:
    """The fast gradient sign method: one step of `epsilon` up the loss, in every value.

    Goodfellow et al. 2015, section 4: https://arxiv.org/abs/1412.6572

    Args:
        images: N,C,H,W.
        losses: what the attack raises.
        epsilon: size of the step.

    Returns:
        Images, N,C,H,W, at most `epsilon` from the given ones in every value; detached.
    """
    return (images + epsilon * _gradient(images, losses).sign()).detach()


def pgd(
    images: torch.Tensor,
    losses: ImageLosses,
    epsilon: float,
    steps: int,
    step_size: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Projected gradient descent: steps up the loss inside a ball, from a random start in it.

    Madry et al. 2018: https://arxiv.org/abs/1706.06083

    Args:
        images: N,C,H,W.
        losses: what the attack raises.
        epsilon: radius of the ball in the maximum norm.
        steps: of the attack.
        step_size: of each step; 2.5 * epsilon / steps reaches the border of the ball from everywhere.
        generator: draws the start, on the images' device.

    Returns:
        Images, N,C,H,W, at most `epsilon` from the given ones in every value; detached.
    """
    start = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    offset = (2 * start - 1) * epsilon
    for _ in range(steps):
        offset = offset + step_size * _gradient(images + offset, losses).sign()
        offset = offset.clamp(-epsilon, epsilon)
    return (images + offset).detach()


def squared_gradient(images: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
    """Squared norm of the gradient of the losses by each image, N: double backpropagation.

    Drucker and LeCun 1992; Ross and Doshi-Velez 2018, https://arxiv.org/abs/1711.09404. Where images share statistics
    of a batch, the losses of the others belong to the gradient, too. Differentiable by the weights.

    Args:
        images: N,C,H,W, requiring gradients, from which the losses were computed.
        losses: of each image, N.
    """
    (gradient,) = torch.autograd.grad(losses.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while: no dropout, no statistics moved; then each layer is in its own mode again."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _gradient(images: torch.Tensor, losses: ImageLosses) -> torch.Tensor:
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(losses(images).sum(), images)
    return gradient
