"""Sections of loss."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Name, Positive
from terrablate.config.schema.training import Share


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class CrossEntropy:
    """Cross-entropy of the softmax."""

    name: Literal["cross_entropy"] = "cross_entropy"
    loss: Literal["cross_entropy"] = "cross_entropy"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class LabelSmoothing:
    """Cross-entropy with targets that give every class a small share."""

    name: Name
    loss: Literal["label_smoothing"]
    epsilon: Share


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Weighted:
    """Cross-entropy in which rare classes count more."""

    name: Name
    loss: Literal["weighted"]
    beta: Share | None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Focal:
    """Cross-entropy in which images that are classified well count less."""

    name: Name
    loss: Literal["focal"]
    gamma: Positive


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SquaredError:
    """Squared error of the softmax probabilities."""

    name: Name
    loss: Literal["l2"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class BinaryCrossEntropy:
    """Cross-entropy of one sigmoid a class."""

    name: Name
    loss: Literal["bce"]


Loss = Annotated[
    CrossEntropy | LabelSmoothing | Weighted | Focal | SquaredError | BinaryCrossEntropy, Field(discriminator="loss")
]
