"""What the labels ask of a network: the one class of an image, or each class for itself.

Everything that training does differently for several labels goes through a `Task`; the rest does not know how many
labels an image has.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom

from terrablate.config.schema import Data
from terrablate.data.source import Labels
from terrablate.training import label_metrics, metrics

_LEAST_NLL = 1e-9


class Task(ABC):
    """How labels become targets, and logits N,K figures."""

    accuracy_name: str
    """What `accuracy` is to be called where a person reads it."""

    @abstractmethod
    def targets(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """What a loss compares the logits with: N,K, float32."""

    @abstractmethod
    def metric_names(self, num_classes: int) -> Sequence[str]:
        """Names of what `all_metrics` gives."""

    @abstractmethod
    def all_metrics(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """Everything that is reported of val each time it is evaluated."""

    @abstractmethod
    def curves(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """`nll` in nats and `accuracy`: what val and probe share, and all that the overfitting monitor asks for."""

    @abstractmethod
    def details(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        """Figures by class, for `result.json`."""

    @abstractmethod
    def image_nll(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """NLL of each image: N."""

    @abstractmethod
    def chance_nll(self, labels: Labels) -> float:
        """NLL of always answering the class frequencies of these labels, at least 1e-9."""

    @abstractmethod
    def tolerance_scale(self, labels: Labels, num_classes: int) -> float:
        """By what `monitor.tolerance` is multiplied, which is meant for the NLL of one label."""

    @abstractmethod
    def alternatives(self, logits: torch.Tensor) -> torch.Tensor:
        """The questions of all images, N or N K, each with logits of the answers that exclude each other."""

    @abstractmethod
    def answer(self, logits: torch.Tensor, label: Any, classes: Sequence[str]) -> Mapping[str, Any]:
        """What is told of one image that was answered badly.

        Args:
            logits: K.
            label: of the image.
            classes: K names.
        """


class OneLabel(Task):
    """Each image is of one class: a softmax over the classes."""

    accuracy_name = "accuracy"

    def targets(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """One-hot; unlike torch's own it does not look at the labels, for which the device would have to be waited."""
        return (labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device)).float()

    def metric_names(self, num_classes: int) -> Sequence[str]:
        """See `metrics.names`."""
        return metrics.names(num_classes)

    def all_metrics(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """See `metrics.all_metrics`."""
        return metrics.all_metrics(logits, labels)

    def curves(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """See `metrics.curves`."""
        return metrics.curves(logits, labels)

    def details(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        """`accuracy_by_class` (recall) and `confusion`, whose rows are true classes."""
        found = metrics.details(logits, labels)
        return {"accuracy_by_class": found.accuracy_by_class, "confusion": found.confusion}

    def image_nll(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Minus the logarithm of the probability of the label."""
        return F.cross_entropy(logits, labels, reduction="none")

    def chance_nll(self, labels: Labels) -> float:
        """Entropy of the class frequencies, in nats."""
        counts = np.bincount(labels)
        shares = counts[counts > 0] / counts.sum()
        return max(float(-(shares * np.log(shares)).sum()), _LEAST_NLL)

    def tolerance_scale(self, labels: Labels, num_classes: int) -> float:
        """As it stands."""
        return 1.0

    def alternatives(self, logits: torch.Tensor) -> torch.Tensor:
        """One question, whose answers are the classes: N,K."""
        return logits

    def answer(self, logits: torch.Tensor, label: Any, classes: Sequence[str]) -> Mapping[str, Any]:
        """Label and prediction, each with its probability."""
        probabilities, true = logits.softmax(0), int(label)
        predicted = int(probabilities.argmax())
        return {
            "label": classes[true],
            "predicted": classes[predicted],
            "probability_of_label": float(probabilities[true]),
            "probability_of_predicted": float(probabilities[predicted]),
        }


class SeveralLabels(Task):
    """Each image shows any number of classes: a sigmoid a class.

    NLL is the binary cross-entropy, mean over the classes, as `loss=bce` has it, so that objective and NLL are the same
    quantity. It is smaller than that of one label: its chance level is the mean entropy of the classes' own
    frequencies, at most ln 2, and 0.42 where each class is on 15 % of the images, instead of ln K. Therefore
    `monitor.tolerance` is multiplied by chance / ln K, so that it is the same share of the chance level as with one
    label among K equally frequent classes.
    """

    accuracy_name = "exact match"

    def targets(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """The labels themselves."""
        return labels.float()

    def metric_names(self, num_classes: int) -> Sequence[str]:
        """See `label_metrics.NAMES`."""
        return label_metrics.NAMES

    def all_metrics(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """See `label_metrics.all_metrics`."""
        return label_metrics.all_metrics(logits, labels)

    def curves(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """See `label_metrics.curves`."""
        return label_metrics.curves(logits, labels)

    def details(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        """`accuracy_by_class` (recall), no `confusion`, and `by_class`: see `label_metrics.by_class`."""
        found = label_metrics.by_class(logits, labels)
        return {"accuracy_by_class": [each["recall"] for each in found], "confusion": None, "by_class": found}

    def image_nll(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `label_metrics.image_nll`."""
        return label_metrics.image_nll(logits, labels)

    def chance_nll(self, labels: Labels) -> float:
        """Entropy in nats of the frequency of each class, mean over the classes."""
        shares = np.stack([labels.mean(0), 1 - labels.mean(0)])
        entropies = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(0)
        return max(float(entropies.mean()), _LEAST_NLL)

    def tolerance_scale(self, labels: Labels, num_classes: int) -> float:
        """Chance NLL over ln K."""
        return self.chance_nll(labels) / math.log(num_classes)

    def alternatives(self, logits: torch.Tensor) -> torch.Tensor:
        """A question a class, with yes and no: N K,2. A softmax over them is the sigmoid."""
        return torch.stack([logits, torch.zeros_like(logits)], dim=2).flatten(0, 1)

    def answer(self, logits: torch.Tensor, label: Any, classes: Sequence[str]) -> Mapping[str, Any]:
        """Classes that are there, classes that are predicted, and the probability of each that is not in both."""
        probabilities = dict(zip(classes, logits.sigmoid().tolist(), strict=True))
        true = [name for name, there in zip(classes, label, strict=True) if there]
        predicted = [name for name, logit in zip(classes, logits.tolist(), strict=True) if logit > 0]
        wrong = [name for name in classes if (name in true) != (name in predicted)]
        return {
            "labels": true,
            "predicted": predicted,
            "probability_of_wrong": {name: probabilities[name] for name in wrong},
        }


ONE_LABEL, SEVERAL_LABELS = OneLabel(), SeveralLabels()
TASKS: Mapping[str, Task] = {"one": ONE_LABEL, "several": SEVERAL_LABELS}
"""By the value of `data.labels`."""


def task_of(data: Data) -> Task:
    """What the labels of some data ask for."""
    return TASKS[data.labels]
