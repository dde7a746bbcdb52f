"""Training objectives: pure functions of logits and target shares, and one small module around each.

All take logits N,K and targets N,K and give one value an image, N, in float32, so that the caller averages over its own
global batch. Targets of one label are one-hot, or shares that sum to 1 (mixup, cutmix): a loss of such a mixture is the
same mixture of the losses of its labels, except for `l2`, whose target probability is the mixture itself. Targets of
several labels (`bce` only) are 0, 1 or a share, each class for itself.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import nn

from terrablate.config.schema import loss as sections
from terrablate.errors import ConfigError

# --- pure functions


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the softmax: N, in nats."""
    return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)


def smooth(targets: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Targets that give a share epsilon to all K classes alike: (1 - epsilon) targets + epsilon / K.

    Szegedy et al. 2016, section 7: https://arxiv.org/abs/1512.00567
    """
    return targets * (1 - epsilon) + epsilon / targets.shape[1]


def class_weights(counts: Sequence[int], beta: float | None) -> torch.Tensor:
    """Weights of the classes: K, float32, whose mean over the training images is 1.

    Args:
        counts: training images of each class, K; a class without images has weight 0, since no image asks for it.
        beta: None for weights as 1 / count; else as 1 / effective number, (1 - beta) / (1 - beta ** count), of
            Cui et al. 2019, https://arxiv.org/abs/1901.05555: from 0 (all alike) towards 1 (as 1 / count).
    """
    images = torch.tensor(counts, dtype=torch.float64)
    effective = images if beta is None else -torch.expm1(images * math.log(beta)) / (1 - beta)
    weights = torch.where(images > 0, 1 / effective, 0.0)
    return (weights * images.sum() / (weights * images).sum()).float()


def weighted_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which the share of each class counts by its weight, K: N."""
    return cross_entropy(logits, targets * weights)


def focal(logits: torch.Tensor, targets: torch.Tensor, gamma: float) -> torch.Tensor:
    """Focal loss, the sum over classes of target (1 - p) ** gamma (-log p): N.

    Lin et al. 2017, equation 4, with a softmax: https://arxiv.org/abs/1708.02002
    """
    log_p = F.log_softmax(logits, dim=1)
    # above 0, because for gamma below 1 the slope of the power is infinite at 0, and infinity times 0 is no number
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(targets * missing**gamma * log_p).sum(dim=1)


def squared_error(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared distance of the softmax probabilities to the targets, from 0 to 2: N (Brier 1950)."""
    return (logits.softmax(dim=1) - targets).square().sum(dim=1)


def binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of one sigmoid a class, mean over the classes: N, in nats.

    The mean, not the sum, so that learning rates do not depend on the number of classes. Of several labels an image,
    val and probe report their NLL in the same way.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


# --- modules


class Loss(nn.Module, ABC):
    """One value an image, N, float32, from logits N,K of any floating type and targets N,K."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses of the images.

        Raises:
            ValueError: if the shapes differ; labels would broadcast to something else.
        """
        if logits.shape != targets.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must both be N,K")
        return self.per_image(logits.float(), targets.float())

    @abstractmethod
    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss itself, in float32."""


class CrossEntropy(Loss):
    """Cross-entropy of the softmax."""

    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `cross_entropy`."""
        return cross_entropy(logits, targets)


class LabelSmoothing(Loss):
    """Cross-entropy with smoothed targets."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `smooth`."""
        return cross_entropy(logits, smooth(targets, self.epsilon))


class Weighted(Loss):
    """Cross-entropy in which rare classes count more."""

    weights: torch.Tensor

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)  # they follow from the data: no part of a checkpoint

    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `weighted_cross_entropy`."""
        return weighted_cross_entropy(logits, targets, self.weights)


class Focal(Loss):
    """Cross-entropy in which images that are classified well count less."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `focal`."""
        return focal(logits, targets, self.gamma)


class SquaredError(Loss):
    """Squared error of the softmax probabilities."""

    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `squared_error`."""
        return squared_error(logits, targets)


class BinaryCrossEntropy(Loss):
    """Cross-entropy of one sigmoid a class."""

    def per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `binary_cross_entropy`."""
        return binary_cross_entropy(logits, targets)


def make_loss(loss: sections.Loss, class_counts: Sequence[int]) -> Loss:
    """The training objective.

    Args:
        loss: its section of the config.
        class_counts: training images of each class, K, as they are trained on (subset, label noise, imbalance).

    Raises:
        ConfigError: for class weights where all classes have equally many images: they would change nothing.
    """
    match loss:
        case sections.CrossEntropy():
            return CrossEntropy()
        case sections.LabelSmoothing():
            return LabelSmoothing(loss.epsilon)
        case sections.Weighted():
            present = {count for count in class_counts if count > 0}
            if len(present) < 2:
                raise ConfigError(
                    f"loss={loss.name}: all classes have equally many training images, so that weights change nothing;"
                    " use loss=cross_entropy"
                )
            return Weighted(class_weights(class_counts, loss.beta))
        case sections.Focal():
            return Focal(loss.gamma)
        case sections.SquaredError():
            return SquaredError()
        case sections.BinaryCrossEntropy():
            return BinaryCrossEntropy()
