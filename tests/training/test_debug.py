"""Debug choices: that each does what it says, and is never taken for the run that it looks at."""

import csv
import logging
from collections.abc import Callable

import numpy as np
import pytest

from terrablate.config import Config
from terrablate.config.identity import Hardware, identity, run_id
from terrablate.data.module import ChipDataModule
from terrablate.errors import ConfigError
from terrablate.training.by_heart import by_heart
from terrablate.training.classifier import Classifier
from terrablate.training.overfitting import Evaluation
from terrablate.training.run import prepare, run

Compose = Callable[..., Config]

TINY = ("model=small_cnn", "model.width=4", "trainer=cpu", "trainer.threads=1", "batch_size=8")
CHOICES = ("smoke", "one_batch", "overfit_ten", "profiler")


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epoch of each batch that is trained on."""
    seen: list[int] = []
    original = Classifier.on_train_batch_start

    def counted(module: Classifier, batch: object, batch_idx: int) -> None:
        seen.append(module.current_epoch)
        original(module, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(Classifier, "on_train_batch_start", counted)
    return seen


# --- limits


@pytest.mark.parametrize("budget", [(), ("steps=77",), ("steps=3",), ("epochs=1",)])
def test_smoke_trains_two_epochs_of_two_batches_whatever_the_budget(
    compose: Compose, batches: list[int], budget: tuple[str, ...]
) -> None:
    result = run(compose(*TINY, "debug=smoke", "data.val=80", *budget)).result()
    assert result is not None
    assert batches == [0, 0, 1, 1]
    assert result["images"] == {"train": 40, "val": 64, "probe": 40}
    assert (result["epochs"], result["budget_epochs"], result["ended"]) == (2, 2, "budget")


def test_one_batch_trains_and_evaluates_one_batch(
    compose: Compose, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    original = Classifier.collect_logits
    monkeypatch.setattr(
        Classifier, "collect_logits", lambda *given: evaluated.append(len(given[1])) or original(*given)
    )
    run(compose(*TINY, "debug=one_batch", "data.train=300", "data.val=300"))
    assert batches == [0]
    assert evaluated == [1, 1]  # val, probe


def test_schedules_run_over_the_epochs_of_the_debug_run(compose: Compose) -> None:
    """Two epochs of two steps, the last one at the end of the cosine."""
    record = run(compose(*TINY, "debug=smoke", "schedule=cosine", "schedule.warmup=0.0", "steps=900"))
    with (record.folder / "metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert prepare(compose(*TINY, "debug=smoke", "steps=900")).total_steps == 4
    assert rates[0] > 10 * rates[1]


def test_no_debugging_changes_nothing(compose: Compose) -> None:
    job = prepare(compose(*TINY, "epochs=7"))
    assert (job.total_epochs, job.total_steps) == (7, 35)
    assert len(job.data.train_indices) == 40
    assert prepare(compose(*TINY, "steps=12")).total_steps == 12


# --- ten images


def test_ten_images_are_drawn_from_all_classes_and_are_the_probe(compose: Compose) -> None:
    data = ChipDataModule(compose(*TINY, "debug=overfit_ten", "data.val=80"))
    assert len(data.train_indices) == 10
    assert np.bincount(data.true_labels).tolist() == [1] * 10
    assert data.probe_indices.tolist() == data.train_indices.tolist()
    assert len(data.val_indices) == 20


def test_they_are_of_those_that_the_label_budget_leaves(compose: Compose) -> None:
    given = ("data.train_per_class=2", "data.imbalance=2")
    whole = set(ChipDataModule(compose(*TINY, *given)).train_indices)
    assert whole > set(ChipDataModule(compose(*TINY, *given, "debug=overfit_ten")).train_indices)


def test_a_network_that_learns_ten_images_by_heart_is_said_to(
    compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("model.width=16", "norm=batch", "optim.lr=0.01", "stop=fitted", "stop.accuracy=1.0")
    result = run(compose(*TINY, *given, "debug=overfit_ten")).result()
    assert result is not None
    found = result["by_heart"]
    assert found["accuracy"] == 1.0
    assert found["epoch"] == result["epochs"] < 200  # where stop=fitted ended it
    assert f"by heart      all 10 training images of the probe were right at epoch {found['epoch']}" in (
        capsys.readouterr().out
    )


def test_a_network_that_learns_nothing_is_called_broken(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(compose(*TINY, "optim.lr=1e-9", "debug=overfit_ten", "debug.epochs=3")).result()
    assert result is not None
    assert result["by_heart"]["epoch"] is None
    assert result["by_heart"]["accuracy"] < 1
    assert "a network that cannot learn so few by heart is broken" in capsys.readouterr().out


def test_the_first_epoch_with_every_image_right_counts() -> None:
    evaluations = [
        Evaluation(epoch=epoch, nll_val=1.0, nll_probe=1.0, accuracy_val=0.1, accuracy_probe=accuracy)
        for epoch, accuracy in ((2, 0.7), (4, 1.0), (6, 0.9), (8, 1.0))
    ]
    assert by_heart(evaluations, 10)["epoch"] == 4
    cut = by_heart(evaluations[:1], 10)
    assert (cut["epoch"], cut["accuracy"]) == (None, 0.7)
    assert cut["sentence"].startswith("at most 7 of the 10 training images of the probe were right in 2 epochs")


def test_other_runs_say_nothing_of_it(compose: Compose) -> None:
    result = run(compose(*TINY, "debug=smoke")).result()
    assert result is not None
    assert result["by_heart"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["debug=overfit_ten", "data.label_noise=0.2"], r"^debug\.by_heart=true: asks whether true labels"),
        (["debug=overfit_ten", "stop=early"], r"^debug\.by_heart=true: stop=early ends a run"),
        (["debug=profiler", "finetune=frozen_features"], r"^debug\.profile_steps=10: finetune=frozen_features takes"),
        (["debug.train_images=1"], r"^debug\.train_images=1: expected "),
    ],
)
def test_what_a_debug_run_cannot_show_is_refused(compose: Compose, given: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(*given)


# --- profiler


def test_the_profiler_writes_the_costliest_operations_and_names_the_first(
    compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "terrablate"):
        record = run(compose(*TINY, "debug=profiler", "debug.profile_steps=3"))
    table = (record.folder / "profile.txt").read_text()
    assert table.startswith("3 training steps on cpu\n")
    calls = {line.split()[0]: int(line.split()[-1]) for line in table.splitlines() if line.startswith("  ")
             and line.split()[-1].isdigit()}  # fmt: skip
    assert calls["aten::convolution_backward"] == 3 * 4  # four convolutions a step, and no step of evaluation
    assert calls["aten::mkldnn_convolution"] == 3 * 4
    said = next(line for line in caplog.messages if line.startswith("profile of 3 steps"))
    assert said.endswith(str(record.folder / "profile.txt"))
    assert "aten::" in said
    assert "%" in said


@pytest.mark.parametrize("limits", [["debug.epochs=1"], ["debug.epochs=2"]])
def test_a_run_of_single_batches_can_be_profiled_too(compose: Compose, limits: list[str]) -> None:
    record = run(compose(*TINY, "debug=one_batch", "debug.profile_steps=5", *limits))
    assert (record.folder / "profile.txt").read_text().startswith("1 training steps on cpu\n")


def test_profiling_changes_no_digit(compose: Compose) -> None:
    profiled = run(compose(*TINY, "debug=profiler")).result()
    plain = run(compose(*TINY, "debug=profiler", "debug.profile_steps=null")).result()
    assert profiled is not None
    assert plain is not None
    assert profiled["last"] == plain["last"]


# --- identity


@pytest.mark.parametrize("choice", CHOICES)
def test_a_debug_run_is_never_taken_for_the_run_itself(compose: Compose, choice: str) -> None:
    cpu = Hardware("cpu", 1, "32", 1)
    real, debug = compose(*TINY), compose(*TINY, f"debug={choice}")
    digests = [identity(config, "data", None, cpu) for config in (real, debug)]
    assert run_id(real, digests[0]) != run_id(debug, digests[1])


def test_a_debug_run_with_all_its_keys_taken_back_is_the_run_itself(compose: Compose) -> None:
    cpu = Hardware("cpu", 1, "32", 1)
    back = [f"debug.{key}=null" for key in ("epochs", "max_train_batches", "max_eval_images")]
    assert identity(compose("debug=smoke", *back), "d", None, cpu) == identity(compose(), "d", None, cpu)
