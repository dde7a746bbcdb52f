"""One run from config to record: what it leaves on disk, when it is done, when it is trained anew, how it fails."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from terrablate.config import Config
from terrablate.errors import Busy, ConfigError, UserError, WeightsError
from terrablate.training import pictures
from terrablate.training import run as run_module
from terrablate.training.classifier import Classifier
from terrablate.training.record import Record
from terrablate.training.run import run

Compose = Callable[..., Config]

TINY = ("model=small_cnn", "model.width=4", "epochs=3", "batch_size=16", "trainer=cpu", "trainer.threads=1")


@pytest.fixture
def done(compose: Compose) -> Record:
    return run(compose(*TINY, "aug=flip_color"))


def metrics(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def curves(record: Record) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if "second" not in name} for row in metrics(record)]


def test_a_record_holds_everything_it_promises(done: Record) -> None:
    result = done.result()
    assert result is not None
    assert result["status"] == "complete"
    assert result["levels"]["aug"] == "flip_color"
    assert result["seed"] == 0
    assert result["synthetic"] is True
    assert set(result["overfitting"]) >= {
        "gap_loss", "gap_accuracy", "onset_epoch", "excess_loss", "verdict", "sentence",
    }  # fmt: skip
    assert set(result["cost"]) == {
        "seconds", "suspects_seconds", "images_per_second", "parameters", "trainable_parameters", "peak_memory_bytes",
    }  # fmt: skip
    assert result["cost"]["parameters"] == sum(p.numel() for p in _network(done))
    assert set(result["provenance"]) >= {"commit", "dirty", "code", "packages", "device", "data_fingerprint"}
    assert len(metrics(done)) == 3
    assert yaml.safe_load((done.folder / "config.yaml").read_text())["aug"]["name"] == "flip_color"
    for picture in ("curves.png", "augmentations.png", "worst/00.png"):
        with Image.open(done.folder / picture) as image:
            assert image.width > 50
    assert not (done.folder / pictures.FILE).exists()
    index = json.loads((done.folder / "worst" / "index.json").read_text())
    assert [entry["nll"] for entry in index] == sorted((entry["nll"] for entry in index), reverse=True)
    assert not list(done.folder.rglob("*.part"))


def _network(record: Record) -> list[torch.Tensor]:
    state = torch.load(record.last_checkpoint)["state_dict"]
    return [value for name, value in state.items() if name.startswith("network.")]


def test_the_predictions_reproduce_the_reported_figures(done: Record) -> None:
    result = done.result()
    assert result is not None
    stored = np.load(done.folder / "val_predictions.npz")
    assert len(stored["ids"]) == len(stored["labels"]) == 20
    for which in ("best", "last"):
        logits, labels = torch.from_numpy(stored[f"logits_{which}"]), torch.from_numpy(stored["labels"])
        nll = torch.nn.functional.cross_entropy(logits, labels).item()
        assert nll == pytest.approx(result[which]["nll/val"], abs=1e-6)
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        assert accuracy == pytest.approx(result[which]["accuracy/val"], abs=1e-6)


def test_gap_and_best_follow_their_definitions(done: Record) -> None:
    result = done.result()
    assert result is not None
    rows = metrics(done)
    for row in rows:
        assert float(row["gap/loss"]) == pytest.approx(float(row["nll/val"]) - float(row["nll/probe"]))
        assert float(row["gap/accuracy"]) == pytest.approx(float(row["accuracy/probe"]) - float(row["accuracy/val"]))
    best = min(rows, key=lambda row: float(row["nll/val"]))
    assert result["best"]["epoch"] == int(best["epoch"])
    assert result["overfitting"]["gap_loss"] == pytest.approx(float(rows[-1]["gap/loss"]))


def test_optimizer_state_is_dropped_unless_it_is_to_be_kept(compose: Compose, done: Record) -> None:
    assert "optimizer_states" not in torch.load(done.last_checkpoint)
    kept = run(compose(*TINY, "seed=1", "keep_optimizer=true"))
    assert torch.load(kept.last_checkpoint)["optimizer_states"]


def test_a_done_run_is_shown_and_not_trained_again(
    compose: Compose, done: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "_fit", lambda *_: pytest.fail("trained again"))
    again = run(compose(*TINY, "aug=flip_color"))
    assert again.folder == done.folder
    assert "done before" in capsys.readouterr().out


def test_force_trains_anew_and_keeps_the_old_record(compose: Compose, done: Record) -> None:
    before = done.result()
    again = run(compose(*TINY, "aug=flip_color", "force=true"))
    archived = json.loads((again.folder / "archive" / "1" / "result.json").read_text())
    assert archived == before
    assert curves(again) == curves(Record(again.folder / "archive" / "1"))


def test_another_version_of_the_code_trains_anew_unless_any_will_do(
    compose: Compose, done: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "code_identity", lambda: "another")
    run(compose(*TINY, "aug=flip_color", "code=any"))
    assert not (done.folder / "archive").exists()
    run(compose(*TINY, "aug=flip_color"))
    assert (done.folder / "archive" / "1" / "result.json").exists()


def test_the_same_seed_gives_the_same_digits_and_zero_is_a_seed(compose: Compose, tmp_path: Path) -> None:
    records = [
        run(compose(*TINY, "aug=flip_color", "dropout=head", f"seed={seed}", f"runs_dir={tmp_path / name}"))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert curves(records[0]) == curves(records[1])
    assert curves(records[0]) != curves(records[2])


def test_logger_and_monitor_settings_do_not_make_another_run(compose: Compose, done: Record) -> None:
    assert run(compose(*TINY, "aug=flip_color", "monitor.window=2", "data.storage=ram")).folder == done.folder


def test_early_stopping_ends_the_run_and_answers_for_the_best_epoch(compose: Compose) -> None:
    record = run(compose(*TINY, "epochs=20", "stop=early", "stop.patience=2", "stop.min_delta=10"))
    result = record.result()
    assert result is not None
    assert (result["epochs"], result["ended"]) == (3, "stopped")
    assert result["deployed"]["which"] == "best"
    assert result["deployed"]["epoch"] == result["best"]["epoch"]


def test_a_run_stops_once_the_training_data_are_learnt(compose: Compose) -> None:
    record = run(compose(*TINY, "epochs=20", "stop=fitted", "stop.accuracy=0.0"))
    result = record.result()
    assert result is not None
    assert result["epochs"] == 1
    assert result["deployed"]["which"] == "last"


def test_a_budget_in_steps_ends_with_an_evaluation_at_exactly_that_step(compose: Compose) -> None:
    rows = metrics(run(compose(*TINY, "steps=7", "eval_every=2")))
    assert [int(row["step"]) for row in rows] == [3, 6, 7]
    assert [row["nll/val"] != "" for row in rows] == [False, True, True]


def test_a_diverged_run_is_a_finished_observation(compose: Compose) -> None:
    config = compose(*TINY, "epochs=10", "optim=sgd", "optim.lr=1000000.0")
    record = run(config)
    result = record.result()
    assert result is not None
    assert result["status"] == "diverged"
    assert result["overfitting"]["verdict"] == "diverged"
    assert result["epochs"] < 10
    assert record.finished()
    assert run(config).folder == record.folder


def test_a_run_that_fails_says_so_and_is_retried(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Classifier.training_step

    def broken(self: Classifier, batch: object, batch_idx: int) -> torch.Tensor:
        raise RuntimeError("the machine is on fire")

    monkeypatch.setattr(Classifier, "training_step", broken)
    config = compose(*TINY)
    with pytest.raises(RuntimeError, match="on fire"):
        run(config)
    (folder,) = Path(config.runs_dir).iterdir()
    result = Record(folder).result()
    assert result is not None
    assert result["status"] == "failed"
    assert "on fire" in result["error"]
    monkeypatch.setattr(Classifier, "training_step", whole)
    assert run(config).finished()


def test_a_full_disk_is_one_sentence_and_never_a_complete_record(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning.Trainer.save_checkpoint", full)
    config = compose(*TINY)
    with pytest.raises(UserError, match="No space left on device"):
        run(config)
    (folder,) = Path(config.runs_dir).iterdir()
    assert not Record(folder).finished()


def test_a_run_that_is_being_trained_is_not_trained_twice(compose: Compose) -> None:
    config = compose(*TINY)
    job = run_module.prepare(config)
    with job.record.claim(), pytest.raises(Busy, match="another process is training this run"):
        run(config)


def test_a_run_that_another_process_has_taken_over_ends_and_writes_no_more(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose(*TINY)
    record = run_module.prepare(config).record
    whole = Classifier.training_step
    taken: list[Path] = []

    def step(self: Classifier, batch: object, batch_idx: int) -> torch.Tensor:
        if not taken:
            (mine,) = (record.folder / "claim").iterdir()
            taken.append(mine.rename(mine.with_name("another.json")))
        return whole(self, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(Classifier, "training_step", step)
    with pytest.raises(Busy, match="another process has taken this run over"):
        run(config)
    assert metrics(record) == []
    assert record.result() is None
    assert taken[0].is_file()


def test_an_output_folder_that_cannot_be_written_is_one_sentence(compose: Compose, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written"):
        run(compose(*TINY, f"runs_dir={blocked}"))


def test_a_damaged_result_does_not_count(compose: Compose, done: Record) -> None:
    (done.folder / "result.json").write_text('{"status": "comp')
    again = run(compose(*TINY, "aug=flip_color"))
    assert again.finished()
    assert len(metrics(again)) == 3


def test_a_damaged_checkpoint_starts_the_training_anew(compose: Compose, done: Record) -> None:
    before = curves(done)
    (done.folder / "result.json").unlink()
    done.last_checkpoint.write_bytes(done.last_checkpoint.read_bytes()[:1000])
    assert curves(run(compose(*TINY, "aug=flip_color"))) == before


def test_a_run_starts_from_the_weights_of_another(compose: Compose, done: Record) -> None:
    record = run(compose(*TINY, "epochs=1", "weights=run", f"weights.run={done.folder.name}", "optim.lr=1e-12"))
    result = record.result()
    assert result is not None
    assert result["weights"]["origin"] == f"run {done.folder.name}"
    assert result["weights"]["initialised"] == []
    first, theirs = metrics(record)[0], metrics(done)[-1]
    assert float(first["nll/val"]) == pytest.approx(float(theirs["nll/val"]), abs=1e-5)


def test_weights_of_a_run_find_their_bands_by_name(compose: Compose, done: Record) -> None:
    record = run(
        compose(
            *TINY, "epochs=1", "weights=run", f"weights.run={done.folder}", "data.bands=[B08,B04]", "optim.lr=1e-12"
        )
    )
    theirs = torch.load(done.last_checkpoint)["state_dict"]["network.features.block1.conv.weight"]
    mine = torch.load(record.last_checkpoint)["state_dict"]["network.features.block1.conv.weight"]
    assert torch.allclose(mine[:, 0], theirs[:, 7], atol=1e-6)
    assert torch.allclose(mine[:, 1], theirs[:, 3], atol=1e-6)


def test_weights_of_another_network_are_refused(compose: Compose, done: Record) -> None:
    with pytest.raises(WeightsError, match=r"does not fit|are they of another network"):
        run(compose(*TINY, "model.width=8", "weights=run", f"weights.run={done.folder}"))


def test_weights_of_no_run_are_refused(compose: Compose) -> None:
    with pytest.raises(ConfigError, match=r"weights\.run=nowhere: there is no finished run"):
        compose(*TINY, "weights=run", "weights.run=nowhere")


def test_augmentation_acts_on_training_images_only(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"training": 0, "evaluation": 0}
    whole = Classifier.training_view

    def view(self: Classifier, stored: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen["training" if self.training else "evaluation"] += len(stored)
        return whole(self, stored, generator)

    monkeypatch.setattr(Classifier, "training_view", view)
    nothing = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 1, 8, 8, 3), np.uint8)
    monkeypatch.setattr("terrablate.training.finish._sheet", lambda *_: nothing)
    run(compose(*TINY, "aug=flip"))
    assert seen == {"training": 3 * 40, "evaluation": 0}


def test_val_and_probe_are_evaluated_without_dropout(compose: Compose) -> None:
    rows = [
        metrics(run(compose(*TINY, "epochs=1", "optim.lr=1e-12", *extra)))[0]
        for extra in ([], ["dropout=head", "dropout.p=0.9"])
    ]
    assert rows[0]["nll/val"] == rows[1]["nll/val"]
    assert rows[0]["nll/probe"] == rows[1]["nll/probe"]
    assert rows[0]["objective/train"] != rows[1]["objective/train"]


def test_the_first_loss_is_near_chance(compose: Compose) -> None:
    row = metrics(run(compose(*TINY, "epochs=1", "optim.lr=1e-12")))[0]
    assert float(row["objective/train"]) == pytest.approx(math.log(10), rel=0.5)
