"""Metrics of one label an image, from all logits of an evaluation, computed on their device and read once."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_cohen_kappa,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Details:
    """Figures by class, for the record rather than for the curves."""

    accuracy_by_class: list[float]
    """Recall of each class; NaN where the evaluated set has none of it."""
    confusion: list[list[int]]
    """Rows are true classes, columns predicted ones."""


def curves(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """NLL in nats and accuracy: what val and probe share. NaN both where the logits are not finite.

    Args:
        logits: N,K.
        labels: N.
    """
    if not torch.isfinite(logits).all():
        return {"nll": float("nan"), "accuracy": float("nan")}
    return read({"nll": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()})


def all_metrics(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Everything that is reported of val each time it is evaluated.

    `accuracy` overall, `top5` where there are more than five classes, `accuracy_macro` over the classes that occur,
    `f1_macro` over those that occur or are predicted, `kappa` (Cohen 1960), `ece` (expected calibration error with 15
    equal bins, Guo et al. 2017), `nll`.
    NaN throughout where the logits are not finite.

    Args:
        logits: N,K.
        labels: N.
    """
    count = logits.shape[1]
    if not torch.isfinite(logits).all():
        return dict.fromkeys(names(count), float("nan"))
    options: dict[str, Any] = {"num_classes": count, "validate_args": False}
    values = {
        "nll": F.cross_entropy(logits, labels),
        "accuracy": multiclass_accuracy(logits, labels, average="micro", **options),
        "accuracy_macro": _by_class(multiclass_confusion_matrix(logits, labels, **options)).nanmean(),
        "f1_macro": multiclass_f1_score(logits, labels, average="macro", **options),
        "kappa": multiclass_cohen_kappa(logits, labels, **options),
        "ece": multiclass_calibration_error(logits.softmax(1), labels, n_bins=CALIBRATION_BINS, **options),
    }
    if count > 5:
        values["top5"] = multiclass_accuracy(logits, labels, average="micro", top_k=5, **options)
    return read(values)


def details(logits: torch.Tensor, labels: torch.Tensor) -> Details:
    """Confusion matrix and accuracy of each class, of N,K logits and N labels."""
    confusion = multiclass_confusion_matrix(torch.nan_to_num(logits), labels, num_classes=logits.shape[1])
    return Details(_by_class(confusion).tolist(), confusion.tolist())


def names(count: int) -> list[str]:
    """Names of what `all_metrics` gives for this many classes."""
    found = ["nll", "accuracy", "accuracy_macro", "f1_macro", "kappa", "ece"]
    return [*found, "top5"] if count > 5 else found


def _by_class(confusion: torch.Tensor) -> torch.Tensor:
    """Recall of each class; NaN where a class does not occur."""
    return confusion.diagonal() / confusion.sum(1)


def read(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """One transfer from the device for all numbers; float32 does not carry more than seven decimals."""
    numbers = torch.stack([value.double() for value in values.values()]).tolist()
    return {name: round(number, 7) for name, number in zip(values, numbers, strict=True)}
