"""`lr_find=true`: the rates that are set, the curve that is written, and that nothing else changes."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from terrablate.config import Config
from terrablate.config.identity import Hardware, identity
from terrablate.errors import ConfigError
from terrablate.training import run as run_module
from terrablate.training.classifier import Classifier
from terrablate.training.find_rate import sentence
from terrablate.training.lr_range import RangeTest
from terrablate.training.record import Record
from terrablate.training.run import run

Compose = Callable[..., Config]

TINY = ("model=small_cnn", "model.width=4", "trainer=cpu", "trainer.threads=1", "batch_size=8", "epochs=2")


def curve(record: Record) -> list[dict[str, float]]:
    with (record.folder / "lr_find.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def digits(record: Record) -> tuple[str, bytes]:
    rows = list(csv.DictReader((record.folder / "metrics.csv").open()))
    kept = [{name: value for name, value in row.items() if "second" not in name} for row in rows]
    return str(kept), np.load(record.folder / "val_predictions.npz")["logits_last"].tobytes()


def test_the_curve_is_written_and_the_suggestion_said(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(compose(*TINY, "lr_find=true"))
    rows = curve(record)
    assert 20 < len(rows) <= 100
    assert rows[0]["lr"] == pytest.approx(1e-6)
    assert rows[20]["lr"] / rows[10]["lr"] == pytest.approx(10 ** (7 * 10 / 99))
    with Image.open(record.folder / "lr_find.png") as picture:
        assert picture.width > 500
    said = capsys.readouterr().out
    assert said.startswith("lr_find: the loss fell fastest at a learning rate of ")
    rate = float(said.split("optim.lr=")[1].split(";")[0])
    assert 1e-5 < rate < 10
    assert said.count("\n") == 1
    compose(f"optim.lr={rate:.2g}")  # is an override


def test_a_run_after_the_test_starts_clean_and_gives_the_same_digits(compose: Compose, tmp_path: Path) -> None:
    tested = run(compose(*TINY, "aug=flip", "lr_find=true"))
    assert {file.name for file in tested.folder.iterdir()} == {"lr_find.png", "lr_find.csv"}
    assert not tested.finished()
    after = run(compose(*TINY, "aug=flip"))
    assert after.folder == tested.folder
    assert after.finished()
    assert digits(after) == digits(run(compose(*TINY, "aug=flip", f"runs_dir={tmp_path / 'elsewhere'}")))


def test_a_finished_run_stays_as_it_is(compose: Compose) -> None:
    record = run(compose(*TINY))
    before = {path: path.read_bytes() for path in record.folder.rglob("*") if path.is_file()}
    run(compose(*TINY, "lr_find=true"))
    assert (record.folder / "lr_find.png").is_file()
    assert {path: path.read_bytes() for path in before} == before


def test_the_key_does_not_change_the_identity(compose: Compose) -> None:
    cpu = Hardware("cpu", 1, "32", 1)
    assert identity(compose("lr_find=true"), "data", None, cpu) == identity(compose(), "data", None, cpu)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], list[int]]]:
    """Of each batch that is trained on: the rates of the parameter groups, and which images."""
    seen: list[tuple[list[float], list[int]]] = []
    original = Classifier.training_step

    def recorded(module: Classifier, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        rates = [group["lr"] for group in module.trainer.optimizers[0].param_groups]
        seen.append((rates, batch["position"].tolist()))
        return original(module, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(Classifier, "training_step", recorded)
    return seen


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_parameter_groups_keep_their_shares_whatever_the_schedule(
    compose: Compose, steps: list[tuple[list[float], list[int]]], schedule: str
) -> None:
    given = (*TINY, "finetune=discriminative", "finetune.factor=0.5", f"schedule={schedule}")
    rows = curve(run(compose(*given, "lr_find=true")))
    assert len(rows) > 20
    for (rates, _), row in zip(steps, rows, strict=False):
        assert max(rates) == pytest.approx(row["lr"])
        assert sorted({round(rate / row["lr"], 6) for rate in rates}, reverse=True)[:2] == [1.0, 0.5]


def test_the_batches_are_those_of_the_run(compose: Compose, steps: list[tuple[list[float], list[int]]]) -> None:
    run(compose(*TINY, "lr_find=true"))
    tested = [positions for _, positions in steps]
    steps.clear()
    run(compose(*TINY))
    assert len(steps) == 10
    assert tested[:10] == [positions for _, positions in steps]


def test_a_step_of_accumulated_batches_has_one_rate_and_one_loss(
    compose: Compose, steps: list[tuple[list[float], list[int]]]
) -> None:
    rows = curve(run(compose(*TINY, "optim.accumulate=2", "lr_find=true")))
    batches = [rates[0] for rates, _ in steps]
    first_epoch = [rows[index]["lr"] for index in (0, 0, 1, 1, 2)]  # five batches: the last step has one
    assert batches[:5] == pytest.approx(first_epoch)
    assert batches[5] == pytest.approx(rows[3]["lr"])


@pytest.mark.parametrize("given", [["optim=sam"], ["steps=3"], ["debug=one_batch"], ["regularize=[l1,ema]"]])
def test_it_works_with_whatever_trains(compose: Compose, given: list[str]) -> None:
    assert len(curve(run(compose(*TINY, *given, "lr_find=true")))) > 20


def test_the_rate_acts(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain gradient descent moves weights by rate times gradient: first next to nothing, then a lot."""
    changes: list[float] = []
    weight: list[torch.Tensor] = []
    original = Classifier.on_train_batch_start

    def watched(module: Classifier, *arguments: object) -> None:
        present = next(module.network.parameters()).detach().clone()
        if weight:
            changes.append(float((present - weight[0]).abs().max()))
        weight[:] = [present]
        original(module, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Classifier, "on_train_batch_start", watched)
    run(compose(*TINY, "optim=sgd", "optim.weight_decay=0", "lr_find=true"))
    assert 0 < max(changes[:5]) < 1e-4
    assert max(changes[40:]) > 100 * max(changes[:5])


def test_an_interrupted_test_leaves_nothing(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(module: Classifier, batch: object, batch_idx: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "on_train_batch_start", interrupted)
    config = compose(*TINY, "lr_find=true")
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert [file.name for folder in Path(config.runs_dir).iterdir() for file in folder.iterdir()] == []


def test_it_trains_nothing_and_evaluates_nothing_besides(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_fit", None)
    monkeypatch.setattr(Classifier, "collect_logits", None)
    run(compose(*TINY, "lr_find=true"))


def test_a_curve_that_never_falls_suggests_nothing() -> None:
    assert "none is suggested" in sentence(RangeTest((1.0,), (1.0,), (1.0,), None, diverged=False))
    assert sentence(RangeTest((1.0,), (1.0,), (1.0,), 0.00314, diverged=False)).endswith("optim.lr=0.0031")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["trainer=ddp", "trainer.devices=2"], r"^trainer\.devices=2: lr_find=true runs on one device"),
        (["trainer=ddp"], r"^trainer\.devices=auto: lr_find=true runs on one device"),
        (["finetune=frozen_features"], r"^lr_find=true: finetune=frozen_features has no learning rate"),
        (["robustness=true"], r"^robustness=true: lr_find=true trains nothing"),
        (["force=true"], r"^force=true: lr_find=true trains nothing"),
    ],
)
def test_what_has_no_place_in_a_range_test_is_refused(compose: Compose, given: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("lr_find=true", *given)
