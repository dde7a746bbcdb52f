"""The classical floor: what scikit-learn reaches on band statistics alone, so that nobody publishes less.

Logistic regression and a random forest (Breiman 2001) are fitted on the mean, standard deviation and percentiles of
each band, of exactly the labelled images that the run trained on, and evaluated on the run's val images. Results are
kept beside the pack: all runs on the same images share them.
"""

import hashlib
import importlib.metadata
import json
import logging
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from terrablate.data.band_statistics import VERSION as STATISTICS
from terrablate.data.band_statistics import image_statistics
from terrablate.data.module import ChipDataModule
from terrablate.data.pack import Pack
from terrablate.data.source import Split
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
type Labels = npt.NDArray[np.int64]


def classical_floor(data: ChipDataModule, threads: int) -> dict[str, Any]:
    """The floor of a run's images, computed once and then found beside the pack.

    Where the pack's folder cannot be written, or the disk is full, it is computed without being kept.

    Args:
        data: of the run.
        threads: that may be used; they change no digit.

    Returns:
        `logistic_regression` and `random_forest`, each with val `accuracy` and `nll` in nats; `best`, the name of the
        more accurate one; `train_images` and `val_images` that were used; `note`, a sentence if only part of the
        training images were used, or if there is no floor, in which case the first three are None.
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

    None where there is no floor; False where the run left no weights that work.
    """
    to_beat = best_accuracy(floor)
    if to_beat is None:
        return None
    reached = deployed["accuracy/val"] if deployed is not None else None
    if reached is None or not math.isfinite(reached):
        return False
    images = floor["val_images"]  # compared as whole images, since both accuracies are rounded
    return round(reached * images) > round(to_beat * images)


def sentence(floor: Mapping[str, Any]) -> str:
    """What the best classifier reaches: `a random forest on band statistics reaches val accuracy 0.710`."""
    return f"{_NAMES[floor['best']]} on band statistics reaches val accuracy {best_accuracy(floor):.3f}"


def fit_and_score(
    train: Array, train_labels: Labels, val: Array, val_labels: Labels, classes: int, threads: int = 1
) -> dict[str, dict[str, float]]:
    """Val accuracy and NLL in nats of both classifiers; the same digits for any number of threads.

    Both see features standardised by the training images. A class without training image has probability 0 before
    `score` clips.

    Args:
        train: n,F.
        train_labels: n, of two classes or more.
        val: m,F.
        val_labels: m.
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
    present = np.unique(labels[rows])
    if len(present) < 2:
        only = pack.classes[int(present[0])]
        return {**result, "note": f"no floor: all {len(rows)} training images are of the class {only}"}
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
    best = min(scores, key=lambda name: (-scores[name]["accuracy"], scores[name]["nll"]))
    return {**result, **scores, "best": best}


def _statistics(pack: Pack, split: Split, rows: Indices, threads: int, cache: FloorCache | None) -> Array:
    def compute(missing: Indices) -> Array:
        return image_statistics(pack.images(split), missing, threads)

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
