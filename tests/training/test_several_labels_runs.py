"""Runs on images with several labels: a record that is whole and consistent, and the tricks that have a meaning."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from helpers import run_train
from planted_chips import floor_of
from terrablate.config import Config
from terrablate.data.pack import Pack
from terrablate.errors import DataError
from terrablate.training import floor
from terrablate.training.floor import beats, score_several, sentence
from terrablate.training.frozen_features import OneVersusRest
from terrablate.training.label_metrics import NAMES
from terrablate.training.overfitting import diagnose
from terrablate.training.record import Record
from terrablate.training.run import prepare, run
from terrablate.training.suspects import find_suspected_labels
from terrablate.training.task import SEVERAL_LABELS

type Compose = Callable[..., Config]

TINY = (
    "data=synthetic_multilabel", "loss=bce", "model=small_cnn", "model.width=4", "epochs=2", "batch_size=16",
    "trainer=cpu", "trainer.threads=1",
)  # fmt: skip


def rows(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def result_of(record: Record) -> dict[str, Any]:
    result = record.result()
    assert result is not None
    return result


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Record:
    from helpers import compose_in

    tiny = ("data.train=40", "data.val=20", "data.test=20", "data.size=16")
    return run(compose_in(tmp_path_factory.mktemp("several"), *TINY, *tiny, "robustness=true"))


# --- the record of a run


def test_the_record_is_whole(done: Record) -> None:
    result = result_of(done)
    assert (result["status"], result["labels"], result["epochs"]) == ("complete", "several", 2)
    for file in (
        "curves.png", "augmentations.png", "worst/00.png", "suspects.csv", "val_predictions.npz", "robustness.png",
    ):  # fmt: skip
        assert (done.folder / file).stat().st_size > 0
    assert {f"{name}/val" for name in NAMES} <= set(rows(done)[0])
    assert sum(result["train_labels"]["by_class"]) > 40  # more labels than images


def test_predictions_reproduce_the_reported_figures(done: Record) -> None:
    result, stored = result_of(done), np.load(done.folder / "val_predictions.npz")
    assert (stored["labels"].dtype, stored["labels"].shape) == (np.uint8, (20, 10))
    for which in ("best", "last"):
        logits, labels = stored[f"logits_{which}"], stored["labels"]
        nll = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits), torch.from_numpy(labels).float()
        )
        assert nll.item() == pytest.approx(result[which]["nll/val"], abs=1e-6)
        assert ((logits > 0) == labels).all(1).mean() == pytest.approx(result[which]["accuracy/val"], abs=1e-6)
        occurs = labels.any(0)
        mean = average_precision_score(labels[:, occurs], logits[:, occurs], average="macro")
        assert result[which]["average_precision_macro/val"] == pytest.approx(mean, abs=1e-6)


def test_gaps_follow_their_definition_and_nll_starts_near_chance(done: Record) -> None:
    for row in rows(done):
        assert float(row["gap/loss"]) == pytest.approx(float(row["nll/val"]) - float(row["nll/probe"]))
        assert float(row["gap/accuracy"]) == pytest.approx(float(row["accuracy/probe"]) - float(row["accuracy/val"]))
    assert float(rows(done)[0]["objective/train"]) == pytest.approx(math.log(2), rel=0.2)


def test_figures_by_class_add_up(done: Record) -> None:
    result, stored = result_of(done), np.load(done.folder / "val_predictions.npz")
    assert result["confusion"] is None
    assert [each["recall"] for each in result["by_class"]] == result["accuracy_by_class"]
    counts = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    assert all(sum(each[name] for name in counts) == 20 for each in result["by_class"])
    there = [each["true_positives"] + each["false_negatives"] for each in result["by_class"]]
    assert there == stored["labels"].sum(0).tolist()


def test_the_worst_images_are_told_with_their_labels(done: Record) -> None:
    index = json.loads((done.folder / "worst" / "index.json").read_text())
    assert [each["nll"] for each in index] == sorted((each["nll"] for each in index), reverse=True)
    stored = np.load(done.folder / "val_predictions.npz")
    position = stored["ids"].tolist().index(index[0]["id"])
    classes = result_of(done)["classes"]
    assert index[0]["labels"] == [
        name for name, is_there in zip(classes, stored["labels"][position], strict=True) if is_there
    ]


def test_robustness_starts_from_the_figures_of_the_record(done: Record) -> None:
    content, deployed = json.loads((done.folder / "robustness.json").read_text()), result_of(done)["deployed"]
    assert content["accuracy_name"] == "exact match"
    for name in ("accuracy", "nll"):
        assert content["unshifted"][name] == pytest.approx(deployed[f"{name}/val"], abs=1e-5)
    assert len({curve["nll"][-1] for curve in content["shifts"].values()}) > 1


def test_the_monitor_judges_by_the_chance_of_several_labels(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def spied(evaluations: Any, chance: float, settings: Any, **more: Any) -> Any:
        asked.append((chance, settings.tolerance))
        return diagnose(evaluations, chance, settings, **more)

    monkeypatch.setattr("terrablate.training.finish.diagnose", spied)
    config = compose(*TINY, "epochs=1")
    run(config)
    labels = prepare(config).data.true_labels
    chance = SEVERAL_LABELS.chance_nll(labels)
    assert asked == [(pytest.approx(chance), pytest.approx(0.02 * chance / math.log(10)))]
    assert 0.3 < chance < 0.6


def test_the_terminal_shows_mean_average_precision(compose: Compose, capfd: pytest.CaptureFixture[str]) -> None:
    run(compose(*TINY))
    shown = capfd.readouterr()
    assert "val mAP 0." in shown.err
    assert "val mAP 0." in shown.out
    assert ", exact match " in shown.out


# --- the tricks


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    ["aug=mixup", "aug=cutmix", "optim=sam", "regularize=adversarial", "regularize=smooth_input_gradient"],
)
def test_a_trick_changes_what_is_trained(compose: Compose, done: Record, overrides: str) -> None:
    with_it = run(compose(*TINY, overrides))
    assert result_of(with_it)["status"] == "complete"
    assert rows(with_it)[-1]["nll/val"] != rows(done)[-1]["nll/val"]


@pytest.mark.slow
def test_consistency_trains_on_the_images_without_labels(compose: Compose) -> None:
    words = (*TINY, "data.train_per_class=2", "aug=flip")
    with_it = run(compose(*words, "regularize=consistency", "regularize.consistency.confidence=0.5"))
    assert rows(with_it)[-1]["nll/val"] != rows(run(compose(*words)))[-1]["nll/val"]


def test_a_mixture_of_images_has_the_mixture_of_their_labels(compose: Compose) -> None:
    from terrablate.training.run import _module

    module, _ = _module(prepare(compose(*TINY, "aug=mixup")))
    labels = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.uint8)
    generator = torch.Generator().manual_seed(1)
    _, targets = module.augment.mix(torch.rand(2, 13, 4, 4), module.task.targets(labels, 3), generator)
    assert targets[:, 1].tolist() == pytest.approx([1, 1])
    assert ((targets >= 0) & (targets <= 1)).all()


def test_stopping_follows_exact_match(compose: Compose) -> None:
    words = ("epochs=6", "stop=early", "stop.metric=accuracy", "stop.patience=1", "stop.min_delta=2.0")
    result = result_of(run(compose(*TINY, *words)))
    assert (result["epochs"], result["ended"], result["deployed"]["which"]) == (2, "stopped", "best")


def test_learning_rates_are_sought(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    run(compose(*TINY, "lr_find=true"))
    assert "lr_find: " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["logistic", "svm", "forest"])
def test_frozen_features_are_classified_class_by_class(
    compose: Compose, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terrablate.training.frozen_features._TREES", 20)
    words = ("model=timm", "model.timm_name=test_resnet", "data.image_size=32")
    tiny = [word for word in TINY if not word.startswith("model")]
    result = result_of(run(compose(*tiny, *words, "finetune=frozen_features", f"finetune.classifier={kind}")))
    assert result["status"] == "complete"
    assert result["last"]["nll/probe"] < result["last"]["nll/val"]


# --- classical classifiers, suspected labels


def test_one_versus_rest_learns_each_class_and_answers_constant_ones() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 4)).astype(np.float32)
    labels = np.zeros((200, 4), np.uint8)
    labels[:, 0], labels[:, 1], labels[:, 2] = features[:, 0] > 0, features[:, 1] > 1, 1
    logits = OneVersusRest("logistic", features, labels, state=0).logits(features)
    assert (((logits > 0).numpy() == labels).mean(0) > 0.97).all()
    assert logits[:, 2].unique().tolist() == pytest.approx([math.log(1e6)])
    assert logits[:, 3].unique().tolist() == pytest.approx([-math.log(1e6)])
    with pytest.raises(DataError, match="needs a class that 1 or more training images have"):
        OneVersusRest("logistic", features, labels[:, 2:], state=0)


def test_the_floor_finds_what_bands_tell(tmp_path: Path) -> None:
    """Band 0 shows class 0, band 1 class 1; class 2 is everywhere, class 3 nowhere."""
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, count in (("train", 60), ("val", 30)):
        labels = np.zeros((count, 4), np.uint8)
        labels[:, :2], labels[:, 2] = rng.integers(0, 2, (count, 2)), 1
        images = rng.integers(0, 40, (count, 2, 6, 6)) + 100 * labels[:, :2, None, None]
        np.save(tmp_path / f"{split}_images.npy", images.astype(np.uint8))
        np.save(tmp_path / f"{split}_labels.npy", labels)
        content[split] = labels
    pack = Pack(tmp_path, {"classes": list("abcd"), "fingerprint": "f", "labels": "several"})
    data = SimpleNamespace(
        pack=pack, given_labels=content["train"], train_indices=np.arange(60), val_indices=np.arange(30)
    )
    found = floor_of(data)
    for name in ("logistic_regression", "random_forest"):
        assert found[name]["accuracy"] == found[name]["average_precision_macro"] == 1.0
        assert found[name]["nll"] < 0.1
    assert found["best"] == min(("logistic_regression", "random_forest"), key=lambda name: found[name]["nll"])
    assert beats(found, {"average_precision_macro/val": 1.0, "accuracy/val": 1.0}) is False
    assert sentence(found).endswith("reaches val mAP 1.000")
    data.given_labels = np.ones_like(content["train"])
    assert floor_of(data)["note"] == "no floor: all 60 training images have the same labels"


def test_the_floor_of_several_labels_is_beaten_by_mean_average_precision() -> None:
    reached = {"accuracy": 0.9, "nll": 0.1, "average_precision_macro": 0.5}
    found = {"best": "random_forest", "random_forest": reached, "val_images": 20}
    assert beats(found, {"average_precision_macro/val": 0.51, "accuracy/val": 0.0}) is True
    assert beats(found, {"average_precision_macro/val": 0.5, "accuracy/val": 1.0}) is False
    assert beats(found, None) is False


def test_the_floors_figures_are_those_of_clipped_probabilities() -> None:
    found = score_several(np.array([[1.0, 0.25], [0.5, 0.75]]), np.array([[0, 0], [0, 1]]))
    least = 1 / (2 * floor.TREES)
    nll = -(math.log(least / (1 + least)) + math.log(0.75) + math.log(0.5) + math.log(0.75)) / 4
    assert found == {"accuracy": 0.5, "nll": pytest.approx(nll, abs=1e-7), "average_precision_macro": 1.0}


def test_planted_wrong_labels_are_suspected_and_named() -> None:
    rng = np.random.default_rng(0)
    true = (rng.random((200, 4)) < 0.4).astype(np.uint8)
    true[:, 3] = 0  # a class that nothing shows
    logits = torch.from_numpy(np.where(true, 2.5, -2.5) + rng.normal(0, 0.3, true.shape))
    given = true.copy()
    wrong = {(5, 0), (17, 0), (40, 1), (41, 2)}
    for image, label in wrong:
        given[image, label] ^= 1
        logits[image, label] *= 2  # surer than is usual for its class, which is what confident learning asks for
    found = find_suspected_labels(logits, given)
    assert set(zip(found.positions.tolist(), found.classes.tolist(), strict=True)) == wrong
    assert (np.diff(found.score) >= 0).all()
    assert found.score.max() < 0.2
    assert len(find_suspected_labels(logits, true).positions) == 0


# --- several processes


@pytest.mark.slow
def test_two_processes_evaluate_every_image_once(tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith("trainer=")]
    small = ("data.train=41", "data.val=21", "data.test=10", "data.size=16", "trainer=ddp", "trainer.devices=2")
    ended = run_train(tmp_path, *words, *small, "trainer.accelerator=cpu", "epochs=1")
    assert ended.returncode == 0, ended.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    stored, result = np.load(folder / "val_predictions.npz"), result_of(Record(folder))
    assert stored["logits_last"].shape == stored["labels"].shape == (21, 10)
    assert (stored["logits_last"] != 0).all()
    nll = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(stored["logits_last"]), torch.from_numpy(stored["labels"]).float()
    )
    assert nll.item() == pytest.approx(result["last"]["nll/val"], abs=1e-6)
