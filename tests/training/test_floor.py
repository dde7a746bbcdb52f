"""The classical floor: what it finds in planted data, which images it uses, and its place in a run."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planted_chips import alternating, floor_of, packed
from terrablate.config import Config
from terrablate.training import figures, floor
from terrablate.training.floor import beats, fit_and_score, score
from terrablate.training.overfitting import Evaluation, diagnose
from terrablate.training.run import run

Compose = Callable[..., Config]

BOTH = ("logistic_regression", "random_forest")


# --- what it finds


def test_a_band_that_tells_the_classes_apart_is_found(planted: SimpleNamespace) -> None:
    found = floor_of(planted)
    for name in BOTH:
        assert found[name]["accuracy"] == 1.0
        assert found[name]["nll"] < 0.1
    assert found["best"] == min(BOTH, key=lambda name: found[name]["nll"])  # equally accurate
    assert (found["train_images"], found["val_images"], found["note"]) == (40, 20, None)


def test_labels_that_say_nothing_are_answered_by_chance(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(alternating(400))
    found = floor_of(packed(tmp_path / "pack", shuffled, alternating(400), shown=alternating(400)))
    for name in BOTH:
        assert found[name]["accuracy"] == pytest.approx(0.5, abs=0.08)
        assert found[name]["nll"] > 0.6


def test_the_best_is_the_more_accurate_one(planted: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"logistic_regression": {"accuracy": 0.6, "nll": 0.1}, "random_forest": {"accuracy": 0.7, "nll": 0.9}}
    monkeypatch.setattr(floor, "fit_and_score", lambda *_: scores)
    assert floor_of(planted)["best"] == "random_forest"


def test_classes_without_a_training_image_keep_their_columns(tmp_path: Path) -> None:
    """The class 1 of five was never seen: its val images are lost, those of the classes after it are not."""
    train = np.array([0, 2, 3] * 20)
    val = np.array([0, 1, 2, 3] * 10)
    found = floor_of(packed(tmp_path / "pack", train, val, classes=5))
    assert found["random_forest"]["accuracy"] == 0.75
    assert found["logistic_regression"]["accuracy"] == 0.75
    lost = -np.log(1 / 150) / 4  # a quarter of the images has the least probability, shortly before dividing
    for name in BOTH:
        assert lost < found[name]["nll"] < lost + 0.1


def test_nll_is_of_clipped_and_renormalised_probabilities() -> None:
    found = score(np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]]), np.array([1, 1]))
    least = 1 / 90
    expected = -(np.log(least / (1 + 2 * least)) + np.log(0.5)) / 2
    assert found == {"accuracy": 0.5, "nll": pytest.approx(expected, abs=1e-7)}


def test_threads_do_not_change_a_digit() -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 3, (200, 6)).astype(float)  # so coarse that leaves stay mixed and votes tie
    labels = rng.integers(0, 4, 200)
    results = [fit_and_score(features[:120], labels[:120], features[120:], labels[120:], 4, n) for n in (1, 2, 5)]
    assert results[0] == results[1] == results[2]


def test_features_of_any_size_are_taken() -> None:
    """float32, in which the forest computes, holds neither number."""
    train, labels = np.array([[0.0], [1e60], [0.0], [1e60]]), np.array([0, 1, 0, 1])
    found = fit_and_score(train, labels, np.array([[1e60], [-1e200]]), np.array([1, 0]), 2)
    assert [found[name]["accuracy"] for name in BOTH] == [1.0, 1.0]


# --- which images it uses


def test_only_the_labelled_images_of_the_run_are_learnt_from(tmp_path: Path, fits: list[int]) -> None:
    """All others are labelled wrongly here."""
    right = alternating(60)
    labels = np.where(np.arange(60) < 20, right, 1 - right)
    data = packed(tmp_path / "pack", labels, alternating(20), shown=right)
    data.train_indices = np.arange(20)
    found = floor_of(data)
    assert fits == [20]
    assert found["train_images"] == 20
    assert [found[name]["accuracy"] for name in BOTH] == [1.0, 1.0]
    data.train_indices = np.arange(20, 60)
    assert [floor_of(data)[name]["accuracy"] for name in BOTH] == [0.0, 0.0]


def test_only_the_val_images_of_the_run_are_answered(tmp_path: Path) -> None:
    data = packed(tmp_path / "pack", alternating(40), alternating(30))
    np.save(data.pack.folder / "val_labels.npy", np.where(np.arange(30) < 20, alternating(30), 1 - alternating(30)))
    data.val_indices = np.arange(0, 20, 3)
    found = floor_of(data)
    assert (found["val_images"], found["random_forest"]["accuracy"]) == (7, 1.0)
    data.val_indices = np.arange(30)
    assert floor_of(data)["random_forest"]["accuracy"] == pytest.approx(2 / 3, abs=1e-6)


def test_many_training_images_are_capped_class_by_class_and_it_says_so(
    planted: SimpleNamespace, fits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floor, "MOST_TRAINING_IMAGES", 10)
    found = floor_of(planted)
    assert fits == [10]
    assert found["train_images"] == 10
    assert found["note"] == "fitted on 10 of the 40 training images, drawn class by class"
    kept = np.load(planted.pack.folder / "train_band_statistics_v1.npy")["row"]
    assert np.bincount(kept % 2).tolist() == [5, 5]


def test_one_image_of_each_class_is_enough(tmp_path: Path) -> None:
    found = floor_of(packed(tmp_path / "pack", [0, 1], [1]))
    assert found["logistic_regression"]["accuracy"] == 1.0
    assert np.isfinite(found["random_forest"]["nll"])


def test_one_class_alone_has_no_floor_and_the_record_says_why(tmp_path: Path, fits: list[int]) -> None:
    data = packed(tmp_path / "pack", [0, 1, 1, 1], [0, 1])
    data.train_indices = np.array([1, 2])
    found = floor_of(data)
    assert found["note"] == "no floor: all 2 training images are of the class class1"
    assert (found["best"], found["random_forest"], found["logistic_regression"]) == (None, None, None)
    assert beats(found, {"accuracy/val": 0.9}) is None
    assert fits == []


# --- in a run


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [(0.6666667, False), (0.6666666, False), (0.7, True), (0.6333333, False), (float("nan"), False), (None, False)],
)
def test_a_tie_does_not_beat_the_floor(accuracy: float | None, expected: bool) -> None:
    """Both accuracies are rounded, so that 20 of 30 may be 0.6666667 here and 0.6666666 there."""
    for theirs in (0.6666667, 0.6666666):
        found = {"best": "random_forest", "random_forest": {"accuracy": theirs, "nll": 1.0}, "val_images": 30}
        assert beats(found, {"accuracy/val": accuracy}) is expected
        assert beats(found, None) is False


def test_a_record_has_the_floor_and_the_summary_says_what_does_not_beat_it(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fits: list[int]
) -> None:
    drawn: list[float | None] = []
    draw = figures.draw_curves

    def seen(*arguments: Any) -> None:
        drawn.append(arguments[5])
        draw(*arguments)

    monkeypatch.setattr(figures, "draw_curves", seen)
    tiny = ("model=small_cnn", "model.width=4", "epochs=1", "batch_size=16", "trainer=cpu", "trainer.threads=1")
    many = ("data.train=100", "data.val=60", "optim.lr=1e-12")
    result = run(compose(*tiny, *many)).result()
    assert result is not None
    best = result["floor"][result["floor"]["best"]]
    assert (result["floor"]["train_images"], result["floor"]["val_images"]) == (100, 60)
    assert best["accuracy"] > 0.25 > result["deployed"]["accuracy/val"]  # it has learnt nothing of its ten classes
    assert result["beats_floor"] is False
    assert drawn == [best["accuracy"]]
    told = f"on band statistics reaches val accuracy {best['accuracy']:.3f}: the network does not beat it"
    assert told in capsys.readouterr().out

    monkeypatch.setattr("terrablate.training.finish.beats", lambda *_: True)
    again = run(compose(*tiny, *many, "seed=1")).result()
    assert again is not None
    assert again["floor"] == result["floor"]
    assert fits == [100]  # and not again for another seed
    assert again["beats_floor"] is True
    assert "does not beat" not in capsys.readouterr().out


def test_the_floor_is_drawn(tmp_path: Path) -> None:
    evaluations = [Evaluation(epoch, 1.0, 0.9, 0.5, 0.6) for epoch in (1, 2, 3)]
    pictures = []
    for floor_accuracy in (None, 0.3, 0.3, 0.4):
        with (tmp_path / "curves.png").open("wb") as file:
            figures.draw_curves(file, "a run", evaluations, diagnose(evaluations, 2.3), "", floor_accuracy)
        pictures.append((tmp_path / "curves.png").read_bytes())
    assert pictures[1] == pictures[2]
    assert len(set(pictures)) == 3
