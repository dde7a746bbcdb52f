"""Metrics of several labels an image against scikit-learn and against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    log_loss,
    multilabel_confusion_matrix,
)

from terrablate.training.label_metrics import NAMES, all_metrics, by_class, curves, image_nll

LOG3 = math.log(3)  # log odds of a probability of 3/4


def drawn(count: int = 300, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(count, classes, generator=generator) < torch.linspace(0.05, 0.6, classes)).to(torch.uint8)
    return torch.randn(count, classes, generator=generator) + 1.5 * (2 * labels.float() - 1), labels


def test_all_metrics_agree_with_scikit_learn() -> None:
    logits, labels = drawn()
    got, truth, scores = all_metrics(logits, labels), labels.numpy(), logits.double().sigmoid().numpy()
    predicted = scores > 0.5
    expected = {
        "nll": np.mean([log_loss(truth[:, label], scores[:, label]) for label in range(7)]),
        "accuracy": accuracy_score(truth, predicted),
        "label_accuracy": 1 - hamming_loss(truth, predicted),
        "average_precision_macro": average_precision_score(truth, scores, average="macro"),
        "average_precision_micro": average_precision_score(truth, scores, average="micro"),
        "f1_macro": f1_score(truth, predicted, average="macro"),
        "f1_micro": f1_score(truth, predicted, average="micro"),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert tuple(got) == NAMES


def test_an_image_is_right_when_all_its_labels_are() -> None:
    logits = torch.tensor([[1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    labels = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 0]])
    got = all_metrics(logits, labels)
    assert got["accuracy"] == 0.5
    assert got["label_accuracy"] == 5 / 8
    assert got["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert got["f1_macro"] == pytest.approx((4 / 5 + 0) / 2)


def test_nll_is_the_mean_over_images_and_classes() -> None:
    logits = torch.tensor([[LOG3, 0.0], [-LOG3, LOG3]])
    labels = torch.tensor([[1, 0], [1, 1]])
    expected = [(-math.log(3 / 4) + math.log(2)) / 2, (-math.log(1 / 4) - math.log(3 / 4)) / 2]
    assert image_nll(logits, labels).tolist() == pytest.approx(expected)
    assert curves(logits, labels)["nll"] == pytest.approx(sum(expected) / 2)


def test_classes_that_do_not_occur_are_left_out_as_documented() -> None:
    logits = torch.tensor([[2.0, -2.0, -1.0], [-2.0, -2.0, 1.0]])
    labels = torch.tensor([[1, 0, 0], [0, 0, 0]])
    got = all_metrics(logits, labels)
    assert got["average_precision_macro"] == 1.0  # the first class alone occurs
    assert got["f1_macro"] == 0.5  # the second is neither there nor predicted, the third is predicted
    found = by_class(logits, labels)
    assert [math.isnan(each["average_precision"]) for each in found] == [False, True, True]
    assert [math.isnan(each["f1"]) for each in found] == [False, True, False]


def test_without_any_label_there_is_no_average_precision() -> None:
    got = all_metrics(torch.full((3, 2), -1.0), torch.zeros(3, 2, dtype=torch.uint8))
    assert math.isnan(got["average_precision_macro"])
    assert math.isnan(got["average_precision_micro"])
    assert (got["accuracy"], got["f1_micro"], got["f1_macro"]) == (1.0, 0.0, 0.0)


def test_ece_compares_probability_and_frequency_in_each_bin() -> None:
    logits = torch.logit(torch.tensor([[0.95, 0.75], [0.95, 0.75], [0.95, 0.75], [0.95, 0.75]]))
    labels = torch.tensor([[1, 1], [1, 1], [1, 0], [0, 0]])
    assert all_metrics(logits, labels)["ece"] == pytest.approx(0.5 * 0.2 + 0.5 * 0.25, abs=1e-6)


def test_confident_logits_keep_their_order() -> None:
    """In float32 both sigmoids would be 1 and their order lost."""
    logits, labels = torch.tensor([[20.0], [21.0], [-20.0]]), torch.tensor([[0], [1], [0]])
    assert all_metrics(logits, labels)["average_precision_macro"] == 1.0


def test_logits_between_zero_and_one_are_not_taken_for_probabilities() -> None:
    logits, labels = torch.tensor([[0.2, 0.4], [0.3, 0.1]]), torch.tensor([[1, 1], [1, 1]])
    got = all_metrics(logits, labels)
    assert (got["accuracy"], got["f1_micro"]) == (1.0, 1.0)
    assert got["ece"] == pytest.approx(1 - torch.sigmoid(logits).mean().item(), abs=1e-6)


def test_val_and_probe_are_measured_alike() -> None:
    logits, labels = drawn()
    both = all_metrics(logits, labels)
    assert curves(logits, labels) == {"nll": both["nll"], "accuracy": both["accuracy"]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_give_nan_throughout(bad: float) -> None:
    logits, labels = drawn()
    logits[7, 3] = bad
    assert all(math.isnan(value) for value in all_metrics(logits, labels).values())
    assert all(math.isnan(value) for value in curves(logits, labels).values())
    assert tuple(all_metrics(logits, labels)) == NAMES
    assert len(by_class(logits, labels)) == 7


def test_figures_of_a_class_follow_from_its_counts() -> None:
    logits, labels = drawn()
    found = by_class(logits, labels)
    for each, ((tn, fp), (fn, tp)) in zip(
        found, multilabel_confusion_matrix(labels.numpy(), (logits > 0).numpy()), strict=True
    ):
        counts = [each[f"{kind}_{what}s"] for kind in ("true", "false") for what in ("positive", "negative")]
        assert counts == [tp, tn, fp, fn]
        assert each["precision"] == pytest.approx(tp / (tp + fp))
        assert each["recall"] == pytest.approx(tp / (tp + fn))
    overall = all_metrics(logits, labels)
    assert np.mean([each["average_precision"] for each in found]) == pytest.approx(
        overall["average_precision_macro"], abs=1e-6
    )
