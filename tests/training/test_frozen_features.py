"""A classical classifier on the features of a frozen network: which features, which probabilities, which record."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from terrablate.config import Config
from terrablate.errors import ConfigError, DataError
from terrablate.models.build import build
from terrablate.training import frozen_features
from terrablate.training import run as run_module
from terrablate.training.frozen_features import FittedClassifier, penultimate_features, random_state
from terrablate.training.inputs import Inputs
from terrablate.training.overfitting import Evaluation, diagnose
from terrablate.training.record import Record
from terrablate.training.run import prepare, run

type Compose = Callable[..., Config]

KINDS = ("logistic", "svm", "forest")
TINY = (
    "finetune=frozen_features", "model=small_cnn", "model.width=8", "data.train=200", "data.val=60",
    "trainer=cpu", "trainer.threads=1",
)  # fmt: skip


def clouds(count: int, classes: int = 3, width: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of points around as many centres as there are classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, width)) * 2
    return (centres[labels] + rng.normal(size=(count, width))).astype(np.float32), labels


def curves(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if "second" not in name} for row in csv.DictReader(file)]


# --- features


@pytest.mark.parametrize(
    "overrides",
    ["model=small_cnn", "model=resnet20", "model=timm model.timm_name=test_vit", "model=timm model.timm_name=vgg11"],
)
def test_features_are_what_the_last_dense_layer_takes(compose: Compose, overrides: str) -> None:
    network = build(compose(*overrides.split(" "), "data.image_size=32"), 3, 5, 32).network.eval()
    images = torch.randn(4, 3, 32, 32)
    (head,) = (
        layer for layer in list(network.modules())[::-1] if isinstance(layer, nn.Linear) and layer.out_features == 5
    )
    found = penultimate_features(network, [images[:3], images[3:]])
    assert found.shape == (4, head.in_features)
    with torch.no_grad():
        torch.testing.assert_close(head(torch.from_numpy(found)), network(images))
    assert not head._forward_pre_hooks


def test_maps_before_a_convolution_are_averaged(compose: Compose) -> None:
    network = build(compose("model=squeezenet1_0", "data.image_size=64"), 3, 5, 64).network.eval()
    head = network.get_submodule("classifier.1")
    head.bias.data.fill_(1e3)  # no ReLU acts after it
    images = torch.randn(2, 3, 64, 64)
    found = penultimate_features(network, [images])
    assert found.shape == (2, 512)
    with torch.no_grad():
        logits = torch.from_numpy(found) @ head.weight.flatten(1).T + head.bias
        torch.testing.assert_close(logits, network(images))


# --- classifiers


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_learns_and_its_probabilities_add_up_to_one(kind: str) -> None:
    features, labels = clouds(90)
    fitted = FittedClassifier(kind, features, labels, 3, state=1)
    logits = fitted.log_probabilities(features)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(90))
    assert (logits.argmax(1).numpy() == labels).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_images_has_a_column_of_the_least_probability(kind: str) -> None:
    features, labels = clouds(90)
    labels = np.where(labels == 1, 3, labels)  # 0, 2 and 3 of five classes
    logits = FittedClassifier(kind, features, labels, 5, state=1).log_probabilities(features)
    assert logits.shape == (90, 5)
    torch.testing.assert_close(logits[:, [1, 4]].exp(), torch.full((90, 2), 1e-6), rtol=1e-4, atol=0)
    assert (logits.argmax(1).numpy() == labels).mean() > 0.9


def test_the_nll_of_a_confident_mistake_is_finite() -> None:
    features, labels = clouds(90)
    logits = FittedClassifier("forest", features, labels, 3, state=1).log_probabilities(features)
    assert logits.min() >= np.log(1e-6) - 1e-4
    assert logits.min() < np.log(2e-6)


@pytest.mark.parametrize("kind", ["svm", "forest"])
def test_random_numbers_follow_the_state(kind: str) -> None:
    features, labels = clouds(60, width=2)
    first, again, other = (
        FittedClassifier(kind, features, labels, 3, state=state).log_probabilities(features) for state in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_threads_change_no_digit_of_a_forest() -> None:
    features, labels = clouds(60, width=2)
    one, two = (
        FittedClassifier("forest", features, labels, 3, state=1, jobs=jobs).log_probabilities(features)
        for jobs in (1, 2)
    )
    assert torch.equal(one, two)


def test_few_images_of_a_class_make_fewer_folds_for_the_svm(caplog: pytest.LogCaptureFixture) -> None:
    features, labels = clouds(60)
    few = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:2]])
    fitted = FittedClassifier("svm", features[few], labels[few], 3, state=1)
    assert (fitted.log_probabilities(features).exp()[:, 2] > 1e-4).any()
    assert not caplog.messages


def test_a_class_of_one_image_is_left_out_by_the_svm_only(caplog: pytest.LogCaptureFixture) -> None:
    features, labels = clouds(60)
    one = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:1]])
    with caplog.at_level(logging.WARNING):
        svm = FittedClassifier("svm", features[one], labels[one], 3, state=1).log_probabilities(features)
    assert caplog.messages == ["finetune.classifier=svm: 1 classes have one image and are left out"]
    assert (svm.exp()[:, 2] < 2e-6).all()
    logistic = FittedClassifier("logistic", features[one], labels[one], 3, state=1).log_probabilities(features)
    assert (logistic.exp()[:, 2] > 1e-4).any()


def test_too_few_classes_are_refused() -> None:
    features, labels = clouds(3)
    with pytest.raises(DataError) as refused:
        FittedClassifier("svm", features, labels, 3, state=1)
    assert str(refused.value) == (
        "finetune.classifier=svm: needs at least two classes with 2 training images or more, found 0; give more images"
    )
    with pytest.raises(DataError, match=r"^finetune\.classifier=forest: needs at least two classes with 1 training im"):
        FittedClassifier("forest", features, np.zeros(3, dtype=np.int64), 3, state=1)


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels = clouds(30)
    features[3, 1] = np.nan
    with pytest.raises(DataError, match=r"^finetune=frozen_features: some features are not finite"):
        FittedClassifier("logistic", features, labels, 3, state=1)


# --- runs


def by_hand(config: Config, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of val and its labels, from scikit-learn on the features of the network that a run builds."""
    data = prepare(config).data
    pack = data.pack
    network = build(config, len(pack.bands), len(pack.classes), pack.image_size).network.eval()
    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    features, labels = {}, {}
    for name in ("train", "val"):
        batch = data.images(name).take(np.arange(len(data.images(name))))
        with torch.no_grad():
            features[name] = network.head[:2](network.features(inputs(batch["image"]))).double().numpy()
        labels[name] = batch["label"].numpy()
    if kind == "forest":
        estimator = RandomForestClassifier(300, random_state=random_state(config.seed))
    else:
        varies = features["train"].std(0) > 0
        center, spread = features["train"].mean(0)[varies], features["train"].std(0)[varies]
        features = {name: (values[:, varies] - center) / spread for name, values in features.items()}
        estimator = LogisticRegression(max_iter=2000)
    probabilities = estimator.fit(features["train"], labels["train"]).predict_proba(features["val"])
    probabilities = np.maximum(probabilities, 1e-6)
    return probabilities / probabilities.sum(1, keepdims=True), labels["val"]


@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_a_run_equals_scikit_learn_by_hand(compose: Compose, kind: str) -> None:
    config = compose(*TINY, f"finetune.classifier={kind}")
    record = run(config)
    expected, labels = by_hand(config, kind)
    stored = np.load(record.folder / "val_predictions.npz")
    assert np.array_equal(stored["labels"], labels)
    np.testing.assert_allclose(np.exp(stored["logits_last"]), expected, atol=2e-4)
    (row,) = curves(record)
    nll = -np.log(expected[np.arange(len(labels)), labels]).mean()
    assert float(row["nll/val"]) == pytest.approx(nll, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_beats_chance_and_leaves_the_usual_record(
    compose: Compose, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose(*TINY, f"finetune.classifier={kind}", "epochs=7")
    record = run(config)
    result = record.result()
    assert result is not None
    assert (result["status"], result["epochs"], result["budget_epochs"], result["ended"]) == (
        "complete",
        1,
        1,
        "budget",
    )
    assert result["last"]["accuracy/val"] > 0.25  # ten classes
    assert result["deployed"]["which"] == "last"
    assert result["cost"]["trainable_parameters"] == 0
    assert result["finetune"]["classifier"] == kind
    assert result["finetune"]["random_state"] == random_state(0)
    assert result["overfitting"]["verdict"] in ("underfits", "fits", "plateau")
    assert "train longer" not in result["overfitting"]["sentence"]
    (row,) = curves(record)
    assert (row["epoch"], row["step"], row["lr"]) == ("1", "0", "")
    stored = np.load(record.folder / "val_predictions.npz")
    logits, labels = torch.from_numpy(stored["logits_last"]), torch.from_numpy(stored["labels"])
    assert np.array_equal(stored["logits_best"], stored["logits_last"])
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(float(row["nll/val"]), abs=1e-6)
    for name in ("curves.png", "augmentations.png", "worst/00.png", "config.yaml"):
        assert (record.folder / name).stat().st_size > 0
    began = build(config, 13, 10, 16).network.state_dict()
    kept = torch.load(record.last_checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(kept[f"network.{name}"], value) for name, value in began.items())

    monkeypatch.setattr(run_module, "fit_frozen_features", None)  # it would fail
    assert run(config).folder == record.folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_is_identical(compose: Compose, tmp_path: Path, kind: str) -> None:
    options = (*TINY, f"finetune.classifier={kind}")
    first, second = run(compose(*options)), run(compose(*options, f"runs_dir={tmp_path / 'again'}"))
    assert curves(first) == curves(second)
    one, two = (np.load(record.folder / "val_predictions.npz")["logits_last"] for record in (first, second))
    assert np.array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["FittedClassifier", "_save"])
def test_a_run_that_was_cut_off_simply_runs_again(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    config = compose(*TINY, f"runs_dir={tmp_path / 'cut-off'}")
    with monkeypatch.context() as patched:
        patched.setattr(frozen_features, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    record = run(config)
    assert record.finished()
    assert curves(record) == curves(run(compose(*TINY)))


def test_a_run_that_was_cut_off_after_the_fit_is_only_finished(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    config = compose(*TINY)
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    monkeypatch.setattr(run_module, "fit_frozen_features", None)
    record = run(config)
    assert record.finished()
    assert len(curves(record)) == 1


def test_a_limit_of_batches_takes_the_images_of_the_first_epoch(
    compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run(compose(*TINY, "debug.max_train_batches=2", "batch_size=16"))
    assert "fitting finetune.classifier=logistic to 64 features of 32 images" in caplog.messages


@pytest.mark.parametrize(
    ("val", "probe", "verdict"),
    [(0.3, 0.2, "fits"), (2.0, 0.1, "plateau"), (1.0, 0.1, "plateau"), (2.2, 2.1, "underfits"), (0.3, 0.6, "fits")],
)
def test_one_evaluation_of_a_whole_fit_has_a_verdict(val: float, probe: float, verdict: str) -> None:
    (diagnosis, by_epochs) = (
        diagnose([Evaluation(1, val, probe, 0.5, 0.5)], chance_nll=2.3, at_once=at_once) for at_once in (True, False)
    )
    assert diagnosis.verdict == verdict
    assert diagnosis.sentence.startswith(f"{verdict}: ")
    assert f"{val:.2f}" in diagnosis.sentence or f"{probe:.2f}" in diagnosis.sentence
    assert diagnosis.onset_epoch is None
    assert by_epochs.sentence.endswith("too little to see a trend; train longer")


REFUSED = {
    "aug=flip": "aug=flip: finetune=frozen_features trains nothing by gradients and takes images as they are",
    "dropout=head": "dropout=head: finetune=frozen_features trains nothing by gradients; use dropout=native",
    "dropout=path": "dropout=path: finetune=frozen_features trains nothing",
    "schedule=cosine": "schedule=cosine: finetune=frozen_features trains nothing by gradients; use schedule=constant",
    "stop=early": "stop=early: finetune=frozen_features is one pass and never stops early; use stop=none",
    "trainer=ddp trainer.devices=2 trainer.accelerator=cpu": "trainer.devices=2: finetune=frozen_features runs on one",
    "steps=10": "steps=10: finetune=frozen_features trains nothing by gradients, its budget is one pass; leave",
}


@pytest.mark.parametrize(("overrides", "expected"), REFUSED.items())
def test_settings_that_cannot_act_are_refused(compose: Compose, overrides: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("finetune=frozen_features", *overrides.split(" "))
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize("dropout", ["conv", "spatial", "path"])
def test_dropout_in_a_frozen_backbone_is_refused(compose: Compose, dropout: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("finetune=head", f"dropout={dropout}")
    assert str(refused.value).startswith(f"dropout={dropout}: cannot act under finetune=head, whose frozen backbone")
    compose("finetune=gradual", f"dropout={dropout}")
