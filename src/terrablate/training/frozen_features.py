"""`finetune=frozen_features`: a classical classifier on what the last layer of a frozen network takes as its input.

Nothing is trained by gradients: one pass over the training images, in eval mode and without augmentation, then a fit by
scikit-learn. The record is that of any run with one epoch. The fitted classifier is not stored; it is a function of the
network, which is in the checkpoints, the training images and the `random_state` in `result.json`, so the same command
(with `force=true`) fits it anew.
"""

import logging
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from terrablate.config.identity import Hardware
from terrablate.config.schema import Config, FrozenFeatures
from terrablate.data.batches import epoch_order
from terrablate.data.module import ChipDataModule
from terrablate.data.source import Labels
from terrablate.errors import DataError
from terrablate.models.heads import classifiers
from terrablate.random_streams import stream_seed
from terrablate.training.classifier import Classifier
from terrablate.training.epoch_end import EpochEnd, scores
from terrablate.training.hardware import HALF_PRECISION
from terrablate.training.history import History
from terrablate.training.loggers import CurveLogger
from terrablate.training.record import Record, Row

logger = logging.getLogger(__name__)

_LEAST = 1e-6
"""Probabilities are clipped here from below, before they are made to add up to 1 again: NLL stays finite."""
_TREES = 300
_FOLDS = 5
_BATCH = 256

type Features = npt.NDArray[np.float32]


def random_state(seed: int) -> int:
    """What scikit-learn's random numbers start from in a run with this seed."""
    return stream_seed(seed, "frozen_features")


def penultimate_features(network: nn.Module, batches: Iterable[torch.Tensor]) -> Features:
    """What the last layers of a network take as their input (Yosinski et al. 2014, Donahue et al. 2014).

    Args:
        network: its mode is left as it is; put it in eval mode before.
        batches: n,C,H,W, on the device of the network.

    Returns:
        N,F float32: maps n,F,H,W, which a convolution takes as the last layer, are averaged over H and W.
    """
    taken: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: taken.append(_pooled(inputs[0])))
        for layer in classifiers(network)
    ]
    rows = []
    try:
        with torch.inference_mode():
            for images in batches:
                network(images)
                rows.append(torch.cat(taken, dim=1).cpu().numpy())
                taken.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return np.concatenate(rows)


def _pooled(values: torch.Tensor) -> torch.Tensor:
    values = values.float()
    return values.mean(dim=(2, 3)) if values.ndim == 4 else values.flatten(1)


class FittedClassifier:
    """A classifier of scikit-learn, fitted to features.

    - `logistic`: multinomial logistic regression on standardised features, L2 penalty with C = 1, by L-BFGS.
    - `svm`: linear support vector machines, one a class, on standardised features, C = 1; their distances are turned
      into probabilities by sigmoids (Platt 1999), fitted to what folds of the training images gave that were left out.
      Classes with a single training image cannot be left out and count as if they had none.
    - `forest`: a random forest (Breiman 2001) of 300 trees, on features as they are.

    Args:
        kind: which of them.
        features: N,F of the training images.
        labels: N.
        num_classes: K; classes without a training image get the least probability.
        state: starts the random numbers of `svm` and `forest`.
        jobs: threads to grow the `forest`; they change no digit.

    Raises:
        DataError: if fewer than two classes have enough images, or a feature is not finite.
    """

    def __init__(
        self, kind: str, features: Features, labels: Labels, num_classes: int, *, state: int, jobs: int = 1
    ) -> None:
        least = _least_images(kind)
        counts = np.bincount(labels, minlength=num_classes)
        enough = np.flatnonzero(counts >= least)
        if len(enough) < 2:
            raise DataError(
                f"finetune.classifier={kind}: needs at least two classes with {least} training image"
                f"{'s' if least > 1 else ''} or more, found {len(enough)}; give more images"
            )
        if (left_out := np.flatnonzero((counts > 0) & (counts < least))).size:
            logger.warning("finetune.classifier=%s: %d classes have one image and are left out", kind, len(left_out))
        if not np.isfinite(features).all():
            raise DataError("finetune=frozen_features: some features are not finite; check weights and data.normalize")
        kept = np.isin(labels, enough)
        self.num_classes = num_classes
        self._estimator = _estimator(kind, min(_FOLDS, int(counts[enough].min())), state, jobs)
        self._fit(kind, features[kept], labels[kept])

    def _fit(self, kind: str, features: Features, labels: Labels) -> None:
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self._estimator.fit(features.astype(np.float64), labels)
        if kind == "forest":
            self._estimator.n_jobs = 1  # several threads would add the trees up in the order in which they end
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            logger.warning("finetune.classifier=%s: the fit has not converged; its figures may still move", kind)

    def log_probabilities(self, features: Features) -> torch.Tensor:
        """N,F to N,K float32 on the CPU: logarithms of probabilities that are at least about 1e-6 and add up to 1."""
        known = self._estimator.predict_proba(features.astype(np.float64))
        probabilities = np.full((len(features), self.num_classes), _LEAST)
        probabilities[:, self._estimator.classes_] = np.maximum(known, _LEAST)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return torch.from_numpy(np.log(probabilities)).float()


class OneVersusRest:
    """A classifier of scikit-learn a class, for several labels an image: "is it there?".

    Args:
        kind: which of those of `FittedClassifier`; each class has its own.
        features: N,F of the training images.
        labels: N,K zeros and ones; a class that too few images have, or all but too few, is answered with no or yes.
        state: starts the random numbers.
        jobs: threads to grow forests.

    Raises:
        DataError: if no class has enough images with it and without, or a feature is not finite.
    """

    def __init__(self, kind: str, features: Features, labels: Labels, *, state: int, jobs: int = 1) -> None:
        least = _least_images(kind)
        with_it = labels.sum(0, dtype=np.int64)
        self._answers = [bool(count * 2 > len(labels)) for count in with_it]
        can_learn = np.minimum(with_it, len(labels) - with_it) >= least
        if not can_learn.any():
            raise DataError(
                f"finetune.classifier={kind}: needs a class that {least} or more training images have and {least} or"
                " more have not; give more images"
            )
        if not can_learn.all():
            logger.warning("finetune.classifier=%s: %d classes are not learnt", kind, int((~can_learn).sum()))
        self._fitted = {
            int(label): FittedClassifier(kind, features, labels[:, label].astype(np.int64), 2, state=state, jobs=jobs)
            for label in np.flatnonzero(can_learn)
        }

    def logits(self, features: Features) -> torch.Tensor:
        """N,F to N,K float32 on the CPU: log odds of probabilities from about 1e-6 to 1 - 1e-6."""
        sure = float(np.log(1 / _LEAST))
        found = torch.tensor([sure if answer else -sure for answer in self._answers]).repeat(len(features), 1)
        for label, fitted in self._fitted.items():
            no, yes = fitted.log_probabilities(features).unbind(1)
            found[:, label] = yes - no
        return found


def _least_images(kind: str) -> int:
    """Training images that a class needs: `svm` leaves some out."""
    return 2 if kind == "svm" else 1


def _estimator(kind: str, folds: int, state: int, jobs: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    match kind:
        case "logistic":
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        case "svm":
            machine = LinearSVC(random_state=state, max_iter=10_000)
            left_out = StratifiedKFold(folds, shuffle=True, random_state=state)
            return make_pipeline(StandardScaler(), CalibratedClassifierCV(machine, cv=left_out, ensemble=False))
        case "forest":
            return RandomForestClassifier(_TREES, random_state=state, n_jobs=jobs)
    raise ValueError(f"unknown classifier {kind}")


def fit_frozen_features(
    module: Classifier,
    data: ChipDataModule,
    record: Record,
    history: History,
    loggers: Sequence[CurveLogger],
    hardware: Hardware,
) -> None:
    """Fit and evaluate, and leave on disk what an epoch of training would have left.

    Args:
        module: its network has its weights; it ends in eval mode.
        data: of the run.
        record: gets the row of `metrics.csv` and the checkpoints, which hold the frozen network; its head is untrained.
        history: empty; gets the row.
        loggers: get the row.
        hardware: of the run.

    Raises:
        DataError: if too few classes have training images, or the features are not finite.
    """
    config = module.config
    assert isinstance(config.finetune, FrozenFeatures)
    began = time.monotonic()
    module.to(hardware.accelerator).eval()
    rows = {name: np.arange(len(data.images(name))) for name in ("val", "probe")} | {"train": _train_rows(config, data)}
    features = {name: _features(module, data, name, chosen, hardware) for name, chosen in rows.items()}
    extracted = time.monotonic() - began
    labels = {name: data.images(name).labels[chosen] for name, chosen in rows.items()}
    kind, count = config.finetune.classifier, len(data.pack.classes)
    logger.info(
        "fitting finetune.classifier=%s to %d features of %d images",
        kind,
        features["train"].shape[1],
        len(rows["train"]),
    )
    options = {"state": random_state(config.seed), "jobs": hardware.threads}
    predict = (
        OneVersusRest(kind, features["train"], labels["train"], **options).logits
        if data.pack.has_several_labels
        else FittedClassifier(kind, features["train"], labels["train"], count, **options).log_probabilities
    )
    logits = {name: predict(features[name]) for name in ("val", "probe")}
    row: Row = {"epoch": 1, "step": 0, "lr": None, "objective/train": None}
    row |= scores(logits, {name: torch.from_numpy(labels[name]) for name in logits}, module.task)
    row["images_per_second"] = sum(map(len, rows.values())) / max(extracted, 1e-9)
    seconds = time.monotonic() - began
    row["seconds"] = seconds
    history.rows.append(row)
    history.seconds += seconds
    history.last_logits = logits["val"]
    record.append_metrics(row)
    for each in loggers:
        each.epoch(row)
    _save(module, record, history)


def _train_rows(config: Config, data: ChipDataModule) -> npt.NDArray[np.int64]:
    """All training images; those of the first epoch where `debug.max_train_batches` limits it."""
    count = len(data.images("train"))
    if config.debug.max_train_batches is None:
        return np.arange(count)
    return np.sort(epoch_order(count, config.seed, 0)[: config.batch_size * data.steps_per_epoch])


def _features(
    module: Classifier, data: ChipDataModule, name: str, rows: npt.NDArray[np.int64], hardware: Hardware
) -> Features:
    images = data.images(name)
    stored = (images.take(rows[start : start + _BATCH])["image"] for start in range(0, len(rows), _BATCH))
    half = HALF_PRECISION.get(hardware.precision)
    with torch.autocast(hardware.accelerator, half) if half else nullcontext():
        return penultimate_features(module.network, (module.inputs(batch.to(module.device)) for batch in stored))


def _save(module: Classifier, record: Record, history: History) -> None:
    """The checkpoints of any run, so that one that is cut off before its record is whole is not fitted again."""
    state = module.state_dict()
    best = {"epoch": 1, "state_dict": state, "val_logits": history.last_logits}
    record.write("checkpoints/best.ckpt", lambda file: torch.save(best, file))
    last = {"epoch": 1, "state_dict": state, "callbacks": {EpochEnd.__qualname__: history.state()}}
    record.write("checkpoints/last.ckpt", lambda file: torch.save(last, file))
