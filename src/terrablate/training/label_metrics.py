"""Metrics of several labels an image, from all logits of an evaluation, computed on their device and read once.

Each class is a question of its own, answered by a sigmoid; it is answered with yes above a probability of 0.5.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multilabel_average_precision,
    multilabel_stat_scores,
)

from terrablate.training.metrics import CALIBRATION_BINS, read

NAMES = (
    "nll", "accuracy", "label_accuracy", "average_precision_macro", "average_precision_micro", "f1_macro", "f1_micro",
    "ece",
)  # fmt: skip
"""Of what `all_metrics` gives."""


def image_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy in nats of N,K logits and labels, mean over the classes: N."""
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(1)


def curves(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """NLL in nats, mean over images and classes, and accuracy. NaN both where the logits are not finite.

    An image counts as right when all its labels are: the exact match ratio, or subset accuracy (scikit-learn's
    `accuracy_score`).

    Args:
        logits: N,K.
        labels: N,K zeros and ones.
    """
    if not torch.isfinite(logits).all():
        return {"nll": float("nan"), "accuracy": float("nan")}
    right = (logits > 0) == labels.bool()
    return read({"nll": image_nll(logits, labels).mean(), "accuracy": right.all(1).float().mean()})


def all_metrics(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Everything that is reported of val each time it is evaluated.

    `nll` and `accuracy` as `curves` has them; `label_accuracy`, the share of the N K answers that are right (1 - the
    Hamming loss); `average_precision_macro`, mean over the classes that occur (mAP), and `average_precision_micro`, of
    all answers in one ranking; `f1_macro` over the classes that occur or are predicted, and `f1_micro` (both 0 where
    nothing is); `ece`, expected calibration error of the probabilities of all answers with 15 equal bins (Guo et al.
    2017).
    NaN throughout where the logits are not finite, and for average precision where no image has a label.

    Args:
        logits: N,K.
        labels: N,K zeros and ones.
    """
    if not torch.isfinite(logits).all():
        return dict.fromkeys(NAMES, float("nan"))
    probabilities, labels = logits.double().sigmoid(), labels.long()
    counts = _counts(logits, labels)
    average_precision = _average_precision(probabilities, labels)
    values = {
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in curves(logits, labels).items()},
        "label_accuracy": ((logits > 0) == labels.bool()).double().mean(),
        "average_precision_macro": average_precision.nanmean(),
        "average_precision_micro": _pooled_average_precision(probabilities, labels),
        "f1_macro": _f1(counts).nanmean().nan_to_num(),
        "f1_micro": _f1(counts.sum(0)).nan_to_num(),
        "ece": binary_calibration_error(
            probabilities.flatten(), labels.flatten(), n_bins=CALIBRATION_BINS, validate_args=False
        ),
    }
    return read({name: value.cpu() for name, value in values.items()})


def by_class(logits: torch.Tensor, labels: torch.Tensor) -> list[dict[str, Any]]:
    """For each class, of N,K logits and labels: the four counts of its confusion, and what they give.

    Returns:
        K times `true_positives`, `false_positives`, `false_negatives`, `true_negatives`, `precision`, `recall`, `f1`,
        `average_precision`; NaN where a denominator is 0.
    """
    logits, labels = torch.nan_to_num(logits), labels.long()
    counts, average_precision = _counts(logits, labels), _average_precision(logits.double().sigmoid(), labels)
    found = []
    for (tp, fp, tn, fn), ap, f1 in zip(counts.tolist(), average_precision.tolist(), _f1(counts).tolist(), strict=True):
        found.append(
            {
                "true_positives": tp,
                "false_positives": fp,
                "false_negatives": fn,
                "true_negatives": tn,
                "precision": tp / (tp + fp) if tp + fp else float("nan"),
                "recall": tp / (tp + fn) if tp + fn else float("nan"),
                "f1": f1,
                "average_precision": ap,
            }
        )
    return found


def _counts(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """True positives, false positives, true negatives, false negatives of each class: K,4."""
    options: dict[str, Any] = {"num_labels": labels.shape[1], "average": None, "validate_args": False}
    return multilabel_stat_scores((logits > 0).long(), labels, **options).view(-1, 5)[:, :4]


def _f1(counts: torch.Tensor) -> torch.Tensor:
    """F1 of counts ...,4; NaN where a class neither occurs nor is predicted."""
    tp, fp, _, fn = counts.double().unbind(-1)
    return 2 * tp / (2 * tp + fp + fn)


def _average_precision(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of each class, K; NaN where it does not occur."""
    occurs = labels.any(0)
    found = torch.full_like(probabilities[0], float("nan"))
    if occurs.any():
        options: dict[str, Any] = {"num_labels": int(occurs.sum()), "average": "none", "validate_args": False}
        found[occurs] = multilabel_average_precision(probabilities[:, occurs], labels[:, occurs], **options).double()
    return found


def _pooled_average_precision(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of all answers in one ranking; NaN where no label is given."""
    return _average_precision(probabilities.reshape(-1, 1), labels.reshape(-1, 1))[0]
