"""The end of a run: predictions, what pictures show, and last of all `result.json`, which makes the record count."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from terrablate.config.schema import Config, FrozenFeatures
from terrablate.data.module import ChipDataModule
from terrablate.models.pruning import cuts_of
from terrablate.random_streams import numpy_stream, stream_seed
from terrablate.training import figures
from terrablate.training.by_heart import by_heart
from terrablate.training.classifier import Classifier
from terrablate.training.early_stopping import early_stopping_report
from terrablate.training.failure import levels
from terrablate.training.figures import Bytes
from terrablate.training.floor import beats, best_accuracy, classical_floor
from terrablate.training.frozen_features import random_state
from terrablate.training.hardware import peak_memory_bytes
from terrablate.training.history import History
from terrablate.training.overfitting import Diagnosis, MonitorSettings, diagnose
from terrablate.training.pictures import Pictures, worst_name
from terrablate.training.record import Record, Row
from terrablate.training.regularize.averaging import deployed
from terrablate.training.reload import rebuilt
from terrablate.training.suspects import add_suspects
from terrablate.training.task import task_of

_WORST = 16
_SHEET_ROWS, _SHEET_VIEWS = 6, 7


def finish(
    record: Record,
    config: Config,
    data: ChipDataModule,
    module: Classifier,
    history: History,
    total_epochs: int,
    provenance: Mapping[str, Any],
    start: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the rest of the record but its pictures, and return `result.json`'s content.

    What the pictures show is kept for `pictures.draw`.

    Args:
        record: of the run.
        config: of the run.
        data: of the run.
        module: as trained.
        history: all epochs.
        total_epochs: of the budget.
        provenance: where the run comes from.
        start: what it started from, for the record: `weights` and `normalization`.

    Raises:
        OSError: if the disk fails; the run then stays unfinished and can be finished later.
    """
    at_once = isinstance(config.finetune, FrozenFeatures)
    task, classes = task_of(config.data), data.pack.classes
    settings = monitor_settings(config, task.tolerance_scale(data.true_labels, len(classes)))
    diagnosis = diagnose(history.evaluations(), task.chance_nll(data.true_labels), settings, at_once=at_once)
    best = _best(record)
    labels = data.images("val").labels
    logits = {"best": best["val_logits"] if best else None, "last": history.last_logits}
    which = "last" if config.stop.rule != "early" or best is None else "best"
    _write_predictions(record, data, logits)
    evaluations = history.evaluations()
    floor = classical_floor(data, threads=torch.get_num_threads())
    suspects, began = None, time.monotonic()
    networks = _networks(config, data, module, best)
    if config.suspects and best is not None and not at_once:  # else it is not the network that predicts
        with _holding(module, networks["best"]):
            suspects = add_suspects(record, config, data, module, best, provenance["hardware"]["accelerator"])
    suspects_seconds = time.monotonic() - began
    module.cpu()
    originals, views = _sheet(config, data, module)
    Pictures(
        title=record.folder.name,
        evaluations=evaluations,
        diagnosis=diagnosis,
        note="synthetic data, not real" if config.data.source == "synthetic" else "",
        floor=best_accuracy(floor),
        accuracy_name=task.accuracy_name,
        sheet_title=f"{record.folder.name}: training images, aug={config.aug.name}",
        originals=originals,
        views=views,
        worst=_write_worst(record, config, data, logits[which]),
    ).keep(record)
    deployed = logits[which]
    details = {"accuracy_by_class": None, "confusion": None}
    if deployed is not None:
        details = task.details(deployed, torch.from_numpy(labels))
    ended = history.ended(config, total_epochs)
    result: dict[str, Any] = {
        "status": "diverged" if diagnosis.verdict == "diverged" or ended == "diverged" else "complete",
        "run_id": record.folder.name,
        "levels": levels(config),
        "seed": config.seed,
        "synthetic": config.data.source == "synthetic",
        "classes": classes,
        "labels": config.data.labels,
        "bands": data.pack.bands,
        "images": {"train": len(data.train_indices), "val": len(data.val_indices), "probe": len(data.probe_indices)},
        "train_labels": {"by_class": data.class_counts, "changed": data.changed_labels},
        "suspects": suspects,
        "epochs": history.epochs,
        "budget_epochs": total_epochs,
        "ended": ended,
        "best": _scores(history.row(best["epoch"]) if best else None),
        "last": _scores(next((row for row in reversed(history.rows) if row["nll/val"] is not None), None)),
        **details,
        "overfitting": _overfitting(diagnosis),
        "early_stopping": None if at_once else early_stopping_report(evaluations, total_epochs),
        "by_heart": by_heart(evaluations, len(data.probe_indices)) if config.debug.by_heart else None,
        **start,
        "floor": floor,
        "finetune": _finetune(module, config, history.epochs),
        "prune": module.pruning.report(networks[which], history.epochs) if module.pruning else None,
        "cost": {
            "seconds": history.seconds,
            "suspects_seconds": suspects_seconds,
            "images_per_second": _mean([row["images_per_second"] for row in history.rows]),
            "parameters": sum(parameter.numel() for parameter in networks[which].parameters()),
            "trainable_parameters": module.finetuning.trainable_parameters(history.epochs - 1),
            "peak_memory_bytes": peak_memory_bytes(provenance["hardware"]["accelerator"]),
        },
        "provenance": dict(provenance),
    }
    result["deployed"] = {"which": which, **result[which]} if result[which] else None
    result["beats_floor"] = beats(floor, result["deployed"])
    _slim_checkpoint(record, config)
    record.write_json("result.json", result)
    return result


def monitor_settings(config: Config, tolerance_scale: float = 1.0) -> MonitorSettings:
    """The settings of the overfitting monitor that a config asks for.

    Args:
        config: of the run.
        tolerance_scale: what the tolerance, meant for the NLL of one label, is multiplied by.
    """
    monitor = config.monitor
    tolerance = monitor.tolerance * tolerance_scale
    return MonitorSettings(monitor.window, tolerance, monitor.patience, monitor.underfit_fraction)


def _best(record: Record) -> dict[str, Any] | None:
    if not record.best_checkpoint.is_file():
        return None
    return torch.load(record.best_checkpoint, map_location="cpu", weights_only=True)


def _networks(
    config: Config, data: ChipDataModule, module: Classifier, best: Mapping[str, Any] | None
) -> dict[str, nn.Module]:
    """The networks of the best and the last epoch, which have other shapes if channels were removed in between."""
    if best is None or cuts_of(best) == module.cuts:
        return {"last": module.network, "best": module.network}
    return {"last": module.network, "best": rebuilt(best, config, data.pack)}


@contextmanager
def _holding(module: Classifier, network: nn.Module) -> Iterator[None]:
    """Another network in the place of the one that was trained, for a while."""
    trained, module.network = module.network, network
    try:
        yield
    finally:
        module.network = trained


def _scores(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    left_out = {"step", "lr", "seconds", "images_per_second"}
    return {name: value for name, value in row.items() if name not in left_out}


def _finetune(module: Classifier, config: Config, epochs: int) -> dict[str, Any]:
    """Which stages the network has and when they began to train; for frozen features what it takes to fit anew."""
    found: dict[str, Any] = {"stages": module.finetuning.report(epochs)}
    if isinstance(config.finetune, FrozenFeatures):
        found |= {"classifier": config.finetune.classifier, "random_state": random_state(config.seed)}
    return found


def _overfitting(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "gap_loss": diagnosis.gap_loss,
        "gap_accuracy": diagnosis.gap_accuracy,
        "gap_loss_at_best": diagnosis.gap_loss_at_best,
        "gap_accuracy_at_best": diagnosis.gap_accuracy_at_best,
        "onset_epoch": diagnosis.onset_epoch,
        "excess_loss": diagnosis.excess_loss,
        "verdict": diagnosis.verdict,
        "sentence": diagnosis.sentence,
    }


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _write_predictions(record: Record, data: ChipDataModule, logits: Mapping[str, torch.Tensor | None]) -> None:
    arrays: dict[str, Any] = {f"logits_{name}": value.numpy() for name, value in logits.items() if value is not None}
    arrays["labels"] = data.images("val").labels
    arrays["ids"] = np.asarray(data.sample_ids("val"))
    record.write("val_predictions.npz", lambda file: np.savez_compressed(file, **arrays))


def _sheet(config: Config, data: ChipDataModule, module: Classifier) -> tuple[Bytes, Bytes]:
    """Some training images as pictures n,H,W,3, and views of each as training sees it, n,v,H,W,3."""
    images = data.images("train")
    rows = numpy_stream(config.seed, "sheet").permutation(len(images))[:_SHEET_ROWS]
    stored = images.take(np.sort(rows))["image"].cpu()
    scaled = module.inputs.scale(stored)
    shown = figures.TrueColor(data.pack.bands, config.data.rgb, scaled.numpy())
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "sheet"))
    views = [module.training_view(stored, generator).numpy() for _ in range(_SHEET_VIEWS)]
    originals = np.stack([figures.as_bytes(shown(image)) for image in scaled.numpy()])
    seen = [[figures.as_bytes(shown(view[row])) for view in views] for row in range(len(stored))]
    return originals, np.stack([np.stack(row) for row in seen])


def _write_worst(record: Record, config: Config, data: ChipDataModule, logits: torch.Tensor | None) -> Bytes:
    """An index of the val images with the highest NLL under the deployed weights; gives them as pictures k,H,W,3."""
    if logits is None or not torch.isfinite(logits).all():
        return np.empty((0, 1, 1, 3), np.uint8)
    images = data.images("val")
    labels = torch.from_numpy(images.labels)
    task, classes = task_of(config.data), data.pack.classes
    nll = task.image_nll(logits, labels)
    worst = nll.argsort(descending=True, stable=True)[:_WORST].numpy()
    stored = images.take(worst)["image"].cpu().numpy()
    shown = figures.TrueColor(data.pack.bands, config.data.rgb, stored)
    ids = data.sample_ids("val")
    index = []
    for rank, position in enumerate(worst):
        answer = task.answer(logits[position], images.labels[position], classes)
        index.append({"file": worst_name(rank), "id": ids[position], **answer, "nll": float(nll[position])})
    record.write_json("worst/index.json", index)
    return np.stack([figures.as_bytes(shown(image)) for image in stored])


def _slim_checkpoint(record: Record, config: Config) -> None:
    """Keep what was evaluated as the network, and drop the optimizer's state, which only resuming needs."""
    if config.keep_optimizer or not record.last_checkpoint.is_file():
        return
    checkpoint = torch.load(record.last_checkpoint, map_location="cpu", weights_only=True)
    checkpoint = deployed(checkpoint)
    kept = {name: value for name, value in checkpoint.items() if name not in ("optimizer_states", "lr_schedulers")}
    record.write("checkpoints/last.ckpt", lambda file: torch.save(kept, file))
