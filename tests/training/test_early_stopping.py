"""When early stopping stops, and what the report of a run says of it: on curves made by hand, and in runs."""

from collections.abc import Callable

import pytest

from loss_curves import INF, NAN
from terrablate.config import Config
from terrablate.training.early_stopping import early_stopping_report, stop_epoch, would_stop_at
from terrablate.training.overfitting import Evaluation
from terrablate.training.run import run


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


# --- what other patience would have given


def curve(*nll_val: float, accuracy: tuple[float, ...] | None = None) -> list[Evaluation]:
    """Evaluations every second epoch."""
    accuracies = accuracy or tuple(0.1 * number for number in range(len(nll_val)))
    return [
        Evaluation(epoch=2 * number, nll_val=nll, nll_probe=nll, accuracy_val=score, accuracy_probe=score)
        for number, (nll, score) in enumerate(zip(nll_val, accuracies, strict=True), start=1)
    ]


def test_the_report_gives_stop_best_weights_and_what_is_saved() -> None:
    one, two, three = early_stopping_report(curve(1.0, 0.9, 0.95, 0.8, 0.85), 10, patiences=(1, 2, 3))
    stopped = {"stop_epoch": 6, "best_epoch": 4, "accuracy/val": 0.1, "nll/val": 0.9, "saved": pytest.approx(0.4)}
    assert one == {"patience": 1, **stopped}
    whole = {"stop_epoch": None, "best_epoch": 8, "accuracy/val": pytest.approx(0.3), "nll/val": 0.8, "saved": 0.0}
    assert two == {"patience": 2, **whole}
    assert three == {"patience": 3, **whole}


def test_what_lies_beyond_the_end_of_the_curves_is_not_claimed() -> None:
    one, two = early_stopping_report(curve(1.0, 0.9, 0.95), 10, patiences=(1, 2))
    assert (one["stop_epoch"], one["saved"]) == (6, pytest.approx(0.4))
    assert (two["stop_epoch"], two["best_epoch"], two["saved"]) == (None, 4, None)


def test_curves_without_a_finite_number_have_no_best_epoch() -> None:
    (one,) = early_stopping_report(curve(NAN), 10, patiences=(1,))
    assert one == {
        "patience": 1, "stop_epoch": 2, "best_epoch": None, "accuracy/val": None, "nll/val": None, "saved": 0.8,
    }  # fmt: skip


def test_accuracy_stops_where_it_no_longer_rises() -> None:
    falling = curve(1.0, 0.9, 0.8, accuracy=(0.5, 0.4, 0.3))
    assert stop_epoch(falling, "accuracy", 1, 0.0) == 4
    assert stop_epoch(falling, "nll", 1, 0.0) is None


@pytest.mark.parametrize("patience", [1, 2])
def test_a_run_with_early_stopping_stops_where_the_report_of_the_whole_run_says(
    compose: Callable[..., Config], patience: int
) -> None:
    """A rate so high that val NLL jumps up and down."""
    tiny = ("model=small_cnn", "model.width=4", "trainer=cpu", "trainer.threads=1", "batch_size=8", "optim.lr=0.05")
    whole = run(compose(*tiny, "epochs=10")).result()
    assert whole is not None
    (said,) = (each for each in whole["early_stopping"] if each["patience"] == patience)
    assert said["stop_epoch"] is not None
    assert said["stop_epoch"] < 10

    stopped = run(compose(*tiny, "epochs=10", "stop=early", f"stop.patience={patience}")).result()
    assert stopped is not None
    assert stopped["ended"] == "stopped"
    assert stopped["epochs"] == said["stop_epoch"]
    deployed = stopped["deployed"]
    assert (deployed["epoch"], deployed["nll/val"], deployed["accuracy/val"]) == (
        said["best_epoch"], said["nll/val"], said["accuracy/val"],
    )  # fmt: skip
    assert said["saved"] == pytest.approx(1 - stopped["epochs"] / 10)
    assert next(each for each in stopped["early_stopping"] if each["patience"] == 20)["saved"] is None
