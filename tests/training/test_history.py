"""The history of a run: best epoch, stopping, divergence; all functions of the curves."""

from collections.abc import Callable, Sequence

from terrablate.config import Config
from terrablate.training.history import History
from terrablate.training.record import Row


def history_of(val: Sequence[float | None], accuracy: float = 0.5, objective: float = 1.0) -> History:
    rows: list[Row] = [
        {
            "epoch": epoch,
            "objective/train": objective,
            "nll/val": nll,
            "nll/probe": nll,
            "accuracy/val": accuracy,
            "accuracy/probe": accuracy,
        }
        for epoch, nll in enumerate(val, start=1)
    ]
    return History(rows)


def test_the_best_epoch_is_the_first_of_the_lowest_val_nll() -> None:
    assert history_of([2.0, 1.0, 1.5, 1.0]).best_epoch == 2
    assert history_of([float("nan")]).best_epoch is None


def test_epochs_that_were_not_evaluated_are_no_evaluations() -> None:
    history = history_of([None, 2.0, None, 1.0])
    assert [each.epoch for each in history.evaluations()] == [2, 4]
    assert history.best_epoch == 4


def test_a_loss_that_is_not_finite_ends_a_run(compose: Callable[..., Config]) -> None:
    config = compose()
    assert history_of([1.0, float("nan")]).ended(config, 10) == "diverged"
    assert history_of([1.0, None], objective=float("inf")).ended(config, 10) == "diverged"
    assert history_of([1.0, 0.9]).ended(config, 10) is None
    assert history_of([1.0, 0.9]).ended(config, 2) == "budget"


def test_early_stopping_counts_evaluations_and_not_epochs(compose: Callable[..., Config]) -> None:
    config = compose("stop=early", "stop.patience=2")
    assert history_of([1.0, None, 1.1, None, 1.2]).stopped_at(config) == 5
    assert history_of([1.0, None, 1.1, None]).stopped_at(config) is None


def test_a_history_survives_a_checkpoint() -> None:
    history = history_of([1.0, 0.5])
    history.seconds = 3.0
    restored = History.of_state(history.state())
    assert restored.rows == history.rows
    assert restored.seconds == 3.0
