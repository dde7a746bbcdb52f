"""Suspected wrong labels of the training images: where the network at its best epoch confidently disagrees.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"),
as cleanlab does it. Each class has a threshold: its mean probability among the images that are labelled so. How many
images labelled i pass the threshold of another class estimates how many labels i are wrong; so many of them are
suspected, those of the lowest probability of i ("prune by class"). On planted noise this found more than the other
rules of the paper at the same precision, and the lowest probability put more real mistakes on top than the margin did.

The theory asks for probabilities of images that were not trained on. These were, so what the network has learnt by
heart escapes. That is why the best epoch is asked, which lies before the learning by heart, in eval mode and without
augmentation. A network that has learnt little suspects much. It is a list to look at, not a verdict.

Of several labels an image, each class is a question of its own, "is it there?", whose answers yes and no are judged in
the same way, as cleanlab's multilabel functions do: what is suspected is a class of an image.
"""

import copy
import csv
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from terrablate.config.schema import Config
from terrablate.data.batches import EvalStream, Images, eval_batch_size
from terrablate.data.module import ChipDataModule
from terrablate.data.source import Labels
from terrablate.data.subsets import Indices, stratified_sample
from terrablate.training.classifier import Classifier
from terrablate.training.record import Record

logger = logging.getLogger(__name__)

FILE = "suspects.csv"
MOST_IMAGES = 20_000
"""Images that are looked at; of more, a sample with their class proportions."""


@dataclass(frozen=True)
class Suspects:
    """Images whose label is probably wrong, the most suspicious first."""

    positions: Indices
    """S, among the images that were looked at."""
    suggested: npt.NDArray[np.int64]
    """S, the most probable other class."""
    score: npt.NDArray[np.float64]
    """S, probability of the given label, from 0 (surely wrong) to 1; rising."""


def find_suspects(logits: torch.Tensor, labels: npt.NDArray[np.int64]) -> Suspects:
    """Rank confident disagreement.

    Args:
        logits: N,K, finite.
        labels: N, as given; not every class must occur.
    """
    from cleanlab.filter import find_label_issues

    probabilities = logits.double().softmax(1).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="May not flag all label issues in class")  # it has no image
        is_suspected = find_label_issues(labels, probabilities, filter_by="prune_by_class", n_jobs=1)
    found = np.flatnonzero(is_suspected)
    found = found[np.argsort(probabilities[found, labels[found]], kind="stable")]
    others = probabilities[found].copy()
    others[np.arange(len(found)), labels[found]] = -1
    return Suspects(found, others.argmax(1), probabilities[found, labels[found]])


@dataclass(frozen=True)
class SuspectedLabels:
    """Single labels of images with several, that are probably wrong, the most suspicious first."""

    positions: Indices
    """S, among the images that were looked at."""
    classes: npt.NDArray[np.int64]
    """S, which label of the image."""
    score: npt.NDArray[np.float64]
    """S, probability of the given answer, from 0 (surely wrong) to 1; rising."""


def find_suspected_labels(logits: torch.Tensor, labels: Labels) -> SuspectedLabels:
    """Rank confident disagreement about single labels, class by class.

    Args:
        logits: N,K, finite.
        labels: N,K zeros and ones, as given; a class that all images or none have is passed over.
    """
    positions: list[Indices] = [np.empty(0, np.int64)]
    classes: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    scores: list[npt.NDArray[np.float64]] = [np.empty(0)]
    for label in np.flatnonzero(labels.any(0) & ~labels.all(0)):
        answers = torch.stack([torch.zeros_like(logits[:, label]), logits[:, label]], dim=1)
        suspects = find_suspects(answers, labels[:, label].astype(np.int64))
        positions.append(suspects.positions)
        classes.append(np.full(len(suspects.positions), label))
        scores.append(suspects.score)
    order = np.argsort(np.concatenate(scores), kind="stable")
    return SuspectedLabels(
        np.concatenate(positions)[order], np.concatenate(classes)[order], np.concatenate(scores)[order]
    )


def train_logits(
    module: Classifier, images: Images, state_dict: Mapping[str, torch.Tensor], device: str = "cpu"
) -> torch.Tensor:
    """Logits N,K of images under given weights: eval mode, no augmentation, float32 on the CPU.

    Afterwards the module holds the weights that it held before, and is on that device.

    Args:
        module: that is evaluated.
        images: N.
        state_dict: of the module.
        device: where to evaluate.
    """
    before, was_training = copy.deepcopy(module.state_dict()), module.training
    module.to(device)
    module.load_state_dict(state_dict)
    module.eval()
    try:
        with torch.inference_mode():
            batches = EvalStream(images, eval_batch_size(device))
            return torch.cat([module(batch["image"].to(device)).float().cpu() for batch in batches])
    finally:
        module.load_state_dict(before)
        module.train(was_training)


def add_suspects(
    record: Record, config: Config, data: ChipDataModule, module: Classifier, best: Mapping[str, Any], device: str
) -> dict[str, Any] | None:
    """Write `suspects.csv` and return what sums it up for `result.json`; None where the logits are not finite.

    The file holds one row an image: `id`, `given`, `suggested`, `score`, and where labels were made wrong on purpose
    `true`. Of several labels an image it holds one row a label: `id`, `class`, `given` and `suggested` (`yes` or `no`),
    `score`. At most 20,000 images are looked at, or `debug.max_eval_images`.

    Args:
        record: gets the file.
        config: of the run.
        data: of the run.
        module: of the run.
        best: the checkpoint of the best epoch: `epoch`, `state_dict`.
        device: where to evaluate.

    Returns:
        `images` looked at, `epoch`, `agreement` (share of their labels that the network predicts), `found`, `share`
        of the labels, `file`; under `data.label_noise` also `changed` (wrong ones among those looked at), and
        `precision` and `recall` of what was found, None where their denominator is 0.

    Raises:
        OSError: if the disk fails.
    """
    all_labels = data.images("train").labels
    limit = min(MOST_IMAGES, config.debug.max_eval_images or MOST_IMAGES)
    chosen = stratified_sample(all_labels, limit, config.data.split_seed, "suspects")
    given, true = all_labels[chosen], data.true_labels[chosen]
    logits = train_logits(module, data.images("train").part(chosen), best["state_dict"], device)
    if not torch.isfinite(logits).all():
        logger.warning(
            "no labels are suspected: the network of epoch %d gives numbers that are not finite", best["epoch"]
        )
        return None
    if data.pack.has_several_labels:
        return _add_suspected_labels(record, data, logits, chosen, best["epoch"])
    suspects = find_suspects(logits, given)
    ids, classes = data.sample_ids("train"), data.pack.classes
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    is_planted = config.data.label_noise is not None
    writer.writerow(["id", "given", "suggested", "score", *(["true"] if is_planted else [])])
    for position, suggested, score in zip(suspects.positions, suspects.suggested, suspects.score, strict=True):
        row = [ids[chosen[position]], classes[given[position]], classes[suggested], f"{score:.6f}"]
        writer.writerow([*row, *([classes[true[position]]] if is_planted else [])])
    record.write_text(FILE, table.getvalue())
    count = len(suspects.positions)
    summary: dict[str, Any] = {
        "images": len(chosen),
        "epoch": best["epoch"],
        "agreement": float((logits.argmax(1).numpy() == given).mean()),
        "found": count,
        "share": count / len(chosen),
        "file": FILE,
    }
    if is_planted:
        wrong = given != true
        hits, changed = int(wrong[suspects.positions].sum()), int(wrong.sum())
        summary |= {
            "changed": changed,
            "precision": hits / count if count else None,
            "recall": hits / changed if changed else None,
        }
    return summary


def _add_suspected_labels(
    record: Record, data: ChipDataModule, logits: torch.Tensor, chosen: Indices, epoch: int
) -> dict[str, Any]:
    """The same of several labels an image."""
    given = data.images("train").labels[chosen]
    suspects = find_suspected_labels(logits, given)
    ids, names = data.sample_ids("train"), data.pack.classes
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "class", "given", "suggested", "score"])
    for position, label, score in zip(suspects.positions, suspects.classes, suspects.score, strict=True):
        answers = ("yes", "no") if given[position, label] else ("no", "yes")
        writer.writerow([ids[chosen[position]], names[label], *answers, f"{score:.6f}"])
    record.write_text(FILE, table.getvalue())
    return {
        "images": len(chosen),
        "epoch": epoch,
        "agreement": float(((logits > 0).numpy() == given.astype(bool)).mean()),
        "found": len(suspects.positions),
        "share": len(suspects.positions) / given.size,
        "file": FILE,
    }
