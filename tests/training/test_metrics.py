"""Metrics of logits against scikit-learn and against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from terrablate.training.metrics import all_metrics, curves, details, names


def drawn(count: int = 300, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, classes)
    return logits, labels


def with_probability(confidences: list[float]) -> torch.Tensor:
    """Logits of two classes whose first has these probabilities."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([first.log(), (1 - first).log()], 1).float()


def test_all_metrics_agree_with_scikit_learn() -> None:
    logits, labels = drawn()
    got = all_metrics(logits, labels)
    truth, scores = labels.numpy(), logits.double().softmax(1).numpy()
    predicted = scores.argmax(1)
    assert got["accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-6)
    assert got["accuracy_macro"] == pytest.approx(balanced_accuracy_score(truth, predicted), abs=1e-6)
    assert got["f1_macro"] == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-6)
    assert got["kappa"] == pytest.approx(cohen_kappa_score(truth, predicted), abs=1e-6)
    assert got["nll"] == pytest.approx(log_loss(truth, scores, labels=range(10)), abs=1e-5)
    assert got["top5"] == pytest.approx(top_k_accuracy_score(truth, scores, k=5), abs=1e-6)
    assert list(got) == ["nll", "accuracy", "accuracy_macro", "f1_macro", "kappa", "ece", "top5"]
    assert set(got) == set(names(10))


def test_macro_figures_count_classes_that_do_not_occur_as_documented() -> None:
    logits = torch.eye(4)[torch.tensor([0, 1, 1, 2])] * 9  # class 2 is predicted and does not occur, class 3 neither
    labels = torch.tensor([0, 0, 1, 1])
    got = all_metrics(logits, labels)
    assert got["accuracy_macro"] == pytest.approx(0.5)  # recalls 1/2 and 1/2
    assert got["f1_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    by_class = details(logits, labels).accuracy_by_class
    assert by_class[:2] == [0.5, 0.5]
    assert all(math.isnan(value) for value in by_class[2:])


def test_five_classes_have_no_top5() -> None:
    assert "top5" not in all_metrics(*drawn(classes=5))
    assert "top5" in all_metrics(*drawn(classes=6))
    assert names(5) == [name for name in names(6) if name != "top5"]


def test_ece_weighs_the_distance_of_confidence_and_accuracy_in_each_bin() -> None:
    confidences = [0.95] * 4 + [0.75] * 4  # two bins of 15
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 1, 1])  # accuracies 0.75 and 0.5
    got = all_metrics(with_probability(confidences), labels)
    assert got["ece"] == pytest.approx(0.5 * abs(0.95 - 0.75) + 0.5 * abs(0.75 - 0.5), abs=1e-6)


def test_ece_has_fifteen_bins() -> None:
    # 0.93 and 0.94 stand on two sides of 14/15: each bin has its own error, which one bin would let cancel out
    got = all_metrics(with_probability([0.93, 0.94]), torch.tensor([0, 1]))
    assert got["ece"] == pytest.approx(0.5 * 0.07 + 0.5 * 0.94, abs=1e-6)


def test_nll_is_the_mean_of_minus_log_probability_of_the_label() -> None:
    got = curves(with_probability([0.5, 0.25]), torch.tensor([0, 0]))
    assert got["nll"] == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-6)
    assert got["accuracy"] == 0.5


def test_val_and_probe_are_measured_alike() -> None:
    logits, labels = drawn()
    both = all_metrics(logits, labels)
    assert curves(logits, labels) == {"nll": both["nll"], "accuracy": both["accuracy"]}


def test_perfect_logits_have_perfect_metrics() -> None:
    labels = torch.arange(10).repeat(3)
    got = all_metrics(torch.eye(10)[labels] * 100, labels)
    expected = {name: 0.0 if name in ("nll", "ece") else 1.0 for name in names(10)}
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_give_nan_throughout(bad: float) -> None:
    logits, labels = drawn()
    logits[7, 3] = bad
    assert all(math.isnan(value) for value in all_metrics(logits, labels).values())
    assert all(math.isnan(value) for value in curves(logits, labels).values())
    assert set(all_metrics(logits, labels)) == set(names(10))


def test_confusion_has_true_classes_in_its_rows() -> None:
    logits, labels = drawn()
    got = details(logits, labels)
    expected = confusion_matrix(labels, logits.argmax(1))
    assert got.confusion == expected.tolist()
    assert got.accuracy_by_class == pytest.approx((np.diag(expected) / expected.sum(1)).tolist())


def test_one_image_and_half_precision_are_enough() -> None:
    got = all_metrics(torch.tensor([[0.0, 2.0, 1.0]], dtype=torch.float64), torch.tensor([1]))
    assert (got["accuracy"], got["accuracy_macro"], got["f1_macro"]) == (1.0, 1.0, 1.0)
