"""What an evaluation adds to the row of its epoch."""

import pytest
import torch

from terrablate.training.epoch_end import columns, scores
from terrablate.training.task import SEVERAL_LABELS


@pytest.mark.parametrize("num_classes", [3, 7])
def test_a_row_has_the_same_columns_in_the_same_order_whether_evaluated_or_not(num_classes: int) -> None:
    """`metrics.csv` is written a row at a time."""
    logits = {"val": torch.randn(8, num_classes), "probe": torch.randn(5, num_classes)}
    labels = {"val": torch.arange(8) % num_classes, "probe": torch.arange(5) % num_classes}
    assert list(scores(logits, labels)) == columns(num_classes)


def test_a_row_of_several_labels_has_its_own_columns_in_the_same_order() -> None:
    logits = {"val": torch.randn(8, 4), "probe": torch.randn(5, 4)}
    labels = {name: (each > 0.3).to(torch.uint8) for name, each in logits.items()}
    found = columns(4, SEVERAL_LABELS)
    assert list(scores(logits, labels, SEVERAL_LABELS)) == found
    assert found[:3] == ["nll/val", "accuracy/val", "label_accuracy/val"]


def test_gaps_are_positive_where_val_is_worse() -> None:
    sure = torch.eye(3) * 9
    found = scores({"val": -sure, "probe": sure}, {"val": torch.arange(3), "probe": torch.arange(3)})
    assert found["gap/accuracy"] == 1.0
    assert found["nll/val"] is not None
    assert found["nll/probe"] is not None
    assert found["gap/loss"] == pytest.approx(found["nll/val"] - found["nll/probe"])
    assert found["gap/loss"] > 8
