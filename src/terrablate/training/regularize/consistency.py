"""Unsupervised consistency training: a network should answer alike for two views of an image without a label."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom

from terrablate.data.subsets import Indices
from terrablate.random_streams import numpy_stream


def consistency(plain: torch.Tensor, augmented: torch.Tensor, *, temperature: float, confidence: float) -> torch.Tensor:
    """Divergence of the answer to an augmented view from that to the plain view, per image.

    UDA, Xie et al. 2020, sections 2.2 and 2.4: https://arxiv.org/abs/1904.12848. The plain answer is a target: no
    gradient flows through it. It is sharpened by `temperature`, and images about which the network is not sure yet do
    not count.

    Args:
        plain: logits N,K of the unaugmented images.
        augmented: logits N,K of the same images, augmented.
        temperature: below 1 sharpens the target.
        confidence: smallest probability of the target's class, before sharpening, for an image to count.

    Returns:
        Kullback-Leibler divergence in nats, N, float32; 0 for images that do not count.
    """
    plain = plain.detach().float()
    sure = plain.softmax(1).amax(1) >= confidence
    target = (plain / temperature).log_softmax(1)
    divergence = F.kl_div(augmented.float().log_softmax(1), target, reduction="none", log_target=True).sum(1)
    return divergence * sure


def ramp(step: int, steps: float) -> float:
    """From 0 at step 0 in a line to 1 at `steps`, and 1 from there on."""
    return 1.0 if step >= steps else step / steps


def unlabelled_positions(count: int, seed: int, epoch: int, start: int, size: int) -> Indices:
    """Which of `count` images without labels a step of an epoch takes: one permutation after the other.

    Args:
        count: of the images.
        seed: of the run.
        epoch: from 0; each has its own permutations.
        start: images that earlier steps of the epoch took.
        size: images to take; those beyond `count` come again.

    Returns:
        Positions, `size`.
    """
    rounds = range(start // count, (start + size - 1) // count + 1)
    orders = [numpy_stream(seed, "unlabelled", epoch, number).permutation(count) for number in rounds]
    first = start - rounds[0] * count
    return np.concatenate(orders)[first : first + size]
