"""The classical floor: what scikit-learn reaches on band statistics alone, so that nobody publishes less.

Logistic regression and a random forest (Breiman 2001) are fitted on the mean, standard deviation and percentiles of
each band, of exactly the labelled images that the run trained on, and evaluated on the run's val images. Results are
kept beside the pack: all runs on the same images share them. Of several labels an image, a regression answers for each
class, and one forest for all.
"""

import hashlib
import importlib.metadata
import json
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from terrablate.data.band_statistics import VERSION as STATISTICS
from terrablate.data.band_statistics import image_statistics
from terrablate.data.module import ChipDataModule
from terrablate.data.pack import Pack
from terrablate.data.paging import images_for_reading
from terrablate.data.source import Labels, Split
from terrablate.data.subsets import Indices, stratified_sample
from terrablate.training.floor_cache import FloorCache

logger = logging.getLogger(__name__)

TREES = 300
MOST_TRAINING_IMAGES = 20_000
"""More would make the forest slow, and band statistics gain little from them."""

_METHOD = {
    "version": 1,  # to be raised when what is computed below changes
    "statistics": STATISTICS,
    "trees": TREES,
    "most_training_images": MOST_TRAINING_IMAGES,
}
_NAMES = {"logistic_regression": "logistic regression", "random_forest": "a random forest"}
_LOUD_ABOVE = 2_000  # training images; below, fitting takes less than a few seconds
_FAR = 1e6  # standard deviations: beyond, numbers are cut, since the forest computes in float32

type Array = npt.NDArray[np.float64]


def classical_floor(data: ChipDataModule, threads: int) -> dict[str, Any]:
    """The floor of a run's images, computed once and then found beside the pack.

    Where the pack's folder cannot be written, or the disk is full, it is computed without being kept.

    Args:
        data: of the run.
        threads: that may be used; they change no digit.

    Returns:
        `logistic_regression` and `random_forest`, each with val `accuracy` and `nll` in nats, and of several labels an
        image `average_precision_macro`; `best`, the name of the more accurate one, or of the higher mean average
        precision; `train_images` and `val_images` that were used; `note`, a sentence if only part of the training
        images were used, or if there is no floor, in which case the first three are None.
    """
    cache, key = FloorCache(data.pack.folder), _key(data)
    if (found := cache.result(key)) is not None:
        return found
    with cache.lock() as held:
        if held and (found := cache.result(key)) is not None:
            return found  # another process computed it meanwhile
        result = _compute(data, threads, cache if held else None)
        if held:
            cache.keep_result(key, result)
    return result


def best_accuracy(floor: Mapping[str, Any]) -> float | None:
    """Val accuracy of the best classifier of the floor; None where there is no floor."""
    return None if floor["best"] is None else floor[floor["best"]]["accuracy"]


def beats(floor: Mapping[str, Any], deployed: Mapping[str, Any] | None) -> bool | None:
    """Whether deployed weights get more val images right than the best classifier of the floor.

    Of several labels an image: whether their mean average precision is higher. None where there is no floor; False
    where the run left no weights that work.
    """
    if floor["best"] is None:
        return None
    figure = _figure(floor[floor["best"]])
    to_beat = floor[floor["best"]][figure]
    reached = deployed[f"{figure}/val"] if deployed is not None else None
    if reached is None or not math.isfinite(reached):
        return False
    if figure != "accuracy":
        return bool(reached > to_beat)
    images = floor["val_images"]  # compared as whole images, since both accuracies are rounded
    return round(reached * images) > round(to_beat * images)


def sentence(floor: Mapping[str, Any]) -> str:
    """What the best classifier reaches: `a random forest on band statistics reaches val accuracy 0.710`."""
    best = floor[floor["best"]]
    figure = _figure(best)
    name = "accuracy" if figure == "accuracy" else "mAP"
    return f"{_NAMES[floor['best']]} on band statistics reaches val {name} {best[figure]:.3f}"


def _figure(scores: Mapping[str, float]) -> str:
    """By which figure classifiers are compared: of several labels an image exact matches are too rare for that."""
    return "average_precision_macro" if "average_precision_macro" in scores else "accuracy"


def fit_and_score(
    train: Array, train_labels: Labels, val: Array, val_labels: Labels, classes: int, threads: int = 1
) -> dict[str, dict[str, float]]:
    """Val accuracy and NLL in nats of both classifiers; the same digits for any number of threads.

    Both see features standardised by the training images. A class without training image has probability 0 before
    `score` clips.

    Args:
        train: n,F.
        train_labels: n, of two classes or more; of several labels an image n,K.
        val: m,F.
        val_labels: m; or m,K.
        classes: number of classes that a label can name.
        threads: for the forest.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler().fit(train)
    train, val = (np.clip(scaler.transform(features), -_FAR, _FAR) for features in (train, val))

    def probabilities(classifier: Any) -> Array:
        whole = np.zeros((len(val), classes))
        whole[:, classifier.classes_] = classifier.predict_proba(val)
        return whole

    if train_labels.ndim == 2:
        return _fit_and_score_several(train, train_labels, val, val_labels, threads)
    forest = RandomForestClassifier(TREES, random_state=0, n_jobs=threads).fit(train, train_labels)
    forest.n_jobs = 1  # votes are then added in the order of the trees, which fixes the last digit, and so ties
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it reached is a floor all the same
        regression = LogisticRegression(max_iter=1000).fit(train, train_labels)  # lbfgs, L2 with C=1
        return {
            "logistic_regression": score(probabilities(regression), val_labels),
            "random_forest": score(probabilities(forest), val_labels),
        }


def score(probabilities: Array, labels: Labels) -> dict[str, float]:
    """Accuracy, and NLL in nats of probabilities clipped from below, rounded as the network's are.

    A probability is raised to at least 1 / (300 K), one vote of the forest shared by all classes, and divided by their
    sum; otherwise one image whose class got no vote would make the NLL infinite.

    Args:
        probabilities: N,K, each row adds up to 1.
        labels: N.
    """
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    raised = np.maximum(probabilities, 1 / (TREES * probabilities.shape[1]))
    nll = -np.log(raised[np.arange(len(labels)), labels] / raised.sum(axis=1)).mean()
    return {"accuracy": round(float(accuracy), 7), "nll": round(float(nll), 7)}


def _fit_and_score_several(
    train: Array, train_labels: Labels, val: Array, val_labels: Labels, threads: int
) -> dict[str, dict[str, float]]:
    """The same for labels n,K. A class that all training images or none have is answered so."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    learnable = np.flatnonzero(train_labels.any(0) & ~train_labels.all(0))
    by_regression = np.tile(train_labels[0].astype(np.float64), (len(val), 1))
    by_forest = by_regression.copy()
    forest = RandomForestClassifier(TREES, random_state=0, n_jobs=threads)
    forest.fit(train, train_labels[:, learnable] if len(learnable) > 1 else train_labels[:, learnable[0]])
    forest.n_jobs = 1
    answers = forest.predict_proba(val)
    for label, each in zip(learnable, answers if len(learnable) > 1 else [answers], strict=True):
        by_forest[:, label] = each[:, 1]
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for label in learnable:
            regression = LogisticRegression(max_iter=1000).fit(train, train_labels[:, label])
            by_regression[:, label] = regression.predict_proba(val)[:, 1]
    return {
        "logistic_regression": score_several(by_regression, val_labels),
        "random_forest": score_several(by_forest, val_labels),
    }


def score_several(probabilities: Array, labels: Labels) -> dict[str, float]:
    """Accuracy (all labels of an image right), NLL in nats (mean over the classes) and mean average precision.

    Both answers to a class, yes and no, are clipped as in `score`: to at least 1 / 600, then divided by their sum.

    Args:
        probabilities: N,K, of yes.
        labels: N,K zeros and ones.
    """
    from sklearn.metrics import average_precision_score

    least = 1 / (2 * TREES)
    yes, no = np.maximum(probabilities, least), np.maximum(1 - probabilities, least)
    nll = -np.log(np.where(labels, yes, no) / (yes + no)).mean()
    occurs = labels.any(0)
    precision = average_precision_score(labels[:, occurs], probabilities[:, occurs]) if occurs.any() else float("nan")
    accuracy = ((probabilities > 0.5) == labels.astype(bool)).all(1).mean()
    figures = {"accuracy": accuracy, "nll": nll, "average_precision_macro": precision}
    return {name: round(float(value), 7) for name, value in figures.items()}


def _compute(data: ChipDataModule, threads: int, cache: FloorCache | None) -> dict[str, Any]:
    pack, labels = data.pack, data.given_labels
    rows = data.train_indices[
        stratified_sample(labels[data.train_indices], MOST_TRAINING_IMAGES, seed=0, stream="floor")
    ]
    result: dict[str, Any] = {
        **dict.fromkeys([*_NAMES, "best"]),
        "train_images": len(rows),
        "val_images": len(data.val_indices),
        "note": None,
    }
    if (lack := _lack(labels[rows], pack.classes)) is not None:
        return {**result, "note": f"no floor: {lack}"}
    if len(rows) < len(data.train_indices):
        result["note"] = f"fitted on {len(rows)} of the {len(data.train_indices)} training images, drawn class by class"
    if len(rows) > _LOUD_ABOVE:
        logger.info("fitting the classical floor on %d training images, once for these data", len(rows))
    scores = fit_and_score(
        _statistics(pack, "train", rows, threads, cache),
        labels[rows],
        _statistics(pack, "val", data.val_indices, threads, cache),
        pack.labels("val")[data.val_indices],
        len(pack.classes),
        threads,
    )
    best = min(scores, key=lambda name: (-scores[name][_figure(scores[name])], scores[name]["nll"]))
    return {**result, **scores, "best": best}


def _lack(labels: Labels, classes: Sequence[str]) -> str | None:
    """Why nothing can be learnt from the labels of some images, if so."""
    if labels.ndim == 2:
        same = not (labels.any(0) & ~labels.all(0)).any()
        return f"all {len(labels)} training images have the same labels" if same else None
    present = np.unique(labels)
    if len(present) > 1:
        return None
    return f"all {len(labels)} training images are of the class {classes[int(present[0])]}"


def _statistics(pack: Pack, split: Split, rows: Indices, threads: int, cache: FloorCache | None) -> Array:
    def compute(missing: Indices) -> Array:
        return image_statistics(images_for_reading(pack.images(split)), missing, threads)

    return compute(rows) if cache is None else cache.statistics(split, rows, compute)


def _key(data: ChipDataModule) -> str:
    """Digest of everything that the result follows from."""
    pack = data.pack
    chosen: dict[Split, Indices] = {"train": data.train_indices, "val": data.val_indices}
    method = [_METHOD, importlib.metadata.version("scikit-learn"), pack.fingerprint, len(pack.classes)]
    digest = hashlib.sha256(json.dumps(method).encode())
    labels = {"train": data.given_labels, "val": pack.labels("val")}
    for split, indices in chosen.items():
        for numbers in (indices, labels[split][indices]):
            digest.update(len(numbers).to_bytes(8, "little") + numbers.astype("<i8").tobytes())
    return digest.hexdigest()
