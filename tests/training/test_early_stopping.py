"""When early stopping stops, on curves made by hand."""

import pytest

from loss_curves import INF, NAN
from terrablate.training.overfitting import would_stop_at


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "expected"),
    [
        ([1.0, 0.9, 0.8], 1, 0.0, None),
        ([1.0, 0.9, 0.95, 0.96], 2, 0.0, 3),
        ([1.0, 0.9, 0.95, 0.85, 0.9], 2, 0.0, None),  # an improvement starts the count anew
        ([1.0, 1.0, 1.0], 2, 0.0, 2),  # an equal value is no improvement
        ([1.0, 0.75, 0.5], 2, 0.25, None),  # 0.75 is no improvement by MORE than 0.25, but 0.5 beats 1.0 by it
        ([1.0, 0.75, 0.75], 2, 0.25, 2),
        ([1.0, NAN, NAN], 2, 0.0, 2),
        ([1.0, NAN, 0.9, NAN], 2, 0.0, None),
        ([NAN, NAN, 0.5], 2, 0.0, 1),
        ([NAN, 1.0, 0.9], 2, 0.0, None),
        ([1.0, -INF, 0.9], 3, 0.0, None),
        ([1.0, -INF, INF], 2, 0.0, 2),
        ([], 1, 0.0, None),
    ],
)
def test_early_stopping_on_a_loss(values: list[float], patience: int, min_delta: float, expected: int | None) -> None:
    assert would_stop_at(values, patience, min_delta, "min") == expected


def test_early_stopping_on_an_accuracy() -> None:
    accuracy = [0.5, 0.6, 0.7, 0.69, NAN, 0.68, 0.9]
    assert would_stop_at(accuracy, 3, 0.0, "max") == 5
    assert would_stop_at(accuracy, 4, 0.0, "max") is None
    assert would_stop_at(accuracy, 2, 0.0, "min") == 2


def test_early_stopping_refuses_what_it_cannot_count() -> None:
    for patience, min_delta, mode in ((0, 0.0, "min"), (1, -0.1, "min"), (1, NAN, "min"), (1, 0.0, "lowest")):
        with pytest.raises(ValueError, match="would_stop_at got"):
            would_stop_at([1.0], patience, min_delta, mode)  # type: ignore[arg-type]
