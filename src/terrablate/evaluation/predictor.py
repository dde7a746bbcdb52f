"""The deployed network of a finished run, and the check that it still gives the val predictions of the record."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from terrablate.config.identity import Hardware
from terrablate.config.schema import FrozenFeatures
from terrablate.data.batches import Images
from terrablate.data.module import ChipDataModule
from terrablate.errors import ConfigError, UserError, WeightsError
from terrablate.evaluation.data import EvaluationSet, own_val
from terrablate.evaluation.options import SYMMETRIES, MeanProbability, View, dropout_left_on, has_dropout
from terrablate.evaluation.settings import Settings
from terrablate.evaluation.subjects import Subject
from terrablate.random_streams import stream_seed
from terrablate.training.frozen_features import FittedClassifier, OneVersusRest, penultimate_features, random_state
from terrablate.training.hardware import HALF_PRECISION
from terrablate.training.reload import rebuilt

type Logits = dict[str, torch.Tensor]
"""N,K float32 on the CPU, by `plain`, `tta`, `mc_dropout`."""

_EXACT = 1e-4
"""Largest difference of a logit from the record's, as a share of the largest logit, where both are float32 of CPUs."""
_NEAR = 0.02
"""Mean difference, in units of the logits' deviation, for other devices and precisions: bf16 rounds to about 0.004."""


@dataclass(frozen=True)
class Predictor:
    """A network that is ready to be asked.

    Args:
        network: in eval mode, on the device.
        device: for the images.
        autocast: gives the context of its precision.
        several: whether an image has several labels.
        head: turns features into logits, for a classifier that was fitted to frozen features; None for a network that
            does so itself.
    """

    network: nn.Module
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    several: bool
    head: Callable[[Any], torch.Tensor] | None = None

    @property
    def can_drop(self) -> bool:
        """Whether there is dropout that could be left on."""
        return self.head is None and has_dropout(self.network)

    def logits(self, images: EvaluationSet, batch_size: int, view: View | None = None) -> torch.Tensor:
        """Of all images in their order, N,K float32 on the CPU; each image as `view` shows it."""
        inputs = images.inputs.to(self.device)
        found = []
        with torch.inference_mode(), self.autocast():
            for stored in _batches(images, batch_size):
                values = inputs.scale(stored.to(self.device))
                shown = inputs.standardise(view(values) if view else values)
                if self.head is None:
                    found.append(self.network(shown).float().cpu())
                else:
                    found.append(self.head(penultimate_features(self.network, [shown])))
        return torch.cat(found)

    def with_options(self, images: EvaluationSet, settings: Settings, plain: torch.Tensor | None = None) -> Logits:
        """The plain logits, and those of each option that is set.

        Args:
            images: to evaluate.
            settings: of the command line.
            plain: their logits, if they are known already.

        Raises:
            ConfigError: if the images are not square, and their symmetries are asked for.
        """
        found = {"plain": self.logits(images, settings.batch_size) if plain is None else plain}
        if settings.tta:
            _check_square(images.parts)
            mean = MeanProbability(several=self.several)
            for view in SYMMETRIES:
                mean.add(self.logits(images, settings.batch_size, view))
            found["tta"] = mean.logits()
        if settings.mc_dropout is not None and self.can_drop:
            mean = MeanProbability(several=self.several)
            with dropout_left_on(self.network), torch.random.fork_rng():
                for number in range(settings.mc_dropout):
                    torch.manual_seed(stream_seed(settings.seed, "mc_dropout", number))
                    mean.add(self.logits(images, settings.batch_size))
            found["mc_dropout"] = mean.logits()
        return found


def predictor_of(subject: Subject, module: ChipDataModule, hardware: Hardware) -> Predictor:
    """Build the network of a run and fill it with its deployed weights.

    Args:
        subject: the run.
        module: its data; a classifier on frozen features is fitted to them anew.
        hardware: where it is evaluated.

    Raises:
        UserError: if the checkpoint is damaged or of another network.
    """
    device = torch.device(hardware.accelerator)
    config, several = subject.config, module.pack.has_several_labels
    try:
        content = torch.load(subject.checkpoint, map_location="cpu", weights_only=True)
        network = rebuilt(content, config, module.pack)
    except (WeightsError, RuntimeError, KeyError, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{subject.checkpoint}: is damaged, or holds the weights of another network; force=true trains the run anew"
        ) from error
    half = HALF_PRECISION.get(hardware.precision)

    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast(hardware.accelerator, half) if half else nullcontext()

    predictor = Predictor(network.to(device).eval(), device, autocast, several)
    if not isinstance(config.finetune, FrozenFeatures):
        return predictor
    return Predictor(predictor.network, device, autocast, several, _fitted_head(subject, module, predictor, hardware))


def check_val(
    predictor: Predictor, subject: Subject, module: ChipDataModule, batch_size: int
) -> tuple[float, torch.Tensor]:
    """Evaluate val as test will be, and compare it with the record.

    Returns:
        The largest difference of a logit, as a share of the largest logit; and the logits.

    Raises:
        UserError: if images, labels or predictions are not those of the record: then nothing may be opened.
    """
    val = own_val(subject, module)
    path = subject.record.folder / "val_predictions.npz"
    try:
        with np.load(path) as stored:
            ids, labels = stored["ids"].tolist(), stored["labels"]
            expected = torch.from_numpy(stored[f"logits_{subject.which}"])
    except Exception as error:  # a damaged archive fails in numpy's and zipfile's readers in many ways
        raise UserError(f"{path}: is damaged, so that nothing tells whether the weights are the run's own") from error
    if ids != val.ids or not np.array_equal(labels, val.labels):
        raise UserError(
            f"{subject.record.folder}: val is not what the run was validated on, so its data have changed since; bring"
            " them back, or train the run anew"
        )
    logits = predictor.logits(val, batch_size)
    difference = (logits - expected).abs() if logits.shape == expected.shape else torch.tensor(float("inf"))
    share = float(difference.max()) / max(float(expected.abs().max()), 1e-12)
    hardware = (subject.result.get("provenance") or {}).get("hardware") or {}
    exact = predictor.device.type == "cpu" == hardware.get("accelerator") and hardware.get("precision") == "32"
    spread = float(expected.std()) or 1.0
    near = not exact and float(difference.mean()) <= _NEAR * spread
    if not (share <= _EXACT or near):  # NaN is not near either
        raise UserError(
            f"{subject.record.folder}: its weights do not give its val predictions any more (a logit is off by"
            f" {share:.2g} of the largest), so the test split stays locked; force=true trains the run anew"
        )
    return share, logits


def _fitted_head(
    subject: Subject, module: ChipDataModule, predictor: Predictor, hardware: Hardware
) -> Callable[[Any], torch.Tensor]:
    """The classifier on frozen features, which records do not hold: a function of network, train and seed."""
    config, train = subject.config, module.images("train")
    assert isinstance(config.finetune, FrozenFeatures)
    val = own_val(subject, module)
    batches = _batches(EvaluationSet((train,), [""] * len(train), train.labels, val.inputs, None, ""), 256)
    inputs = val.inputs.to(predictor.device)
    with predictor.autocast():
        features = penultimate_features(predictor.network, (inputs(each.to(predictor.device)) for each in batches))
    state, jobs = random_state(config.seed), hardware.threads
    kind = config.finetune.classifier
    if predictor.several:
        return OneVersusRest(kind, features, train.labels, state=state, jobs=jobs).logits
    count = len(module.pack.classes)
    return FittedClassifier(kind, features, train.labels, count, state=state, jobs=jobs).log_probabilities


def _batches(images: EvaluationSet, size: int) -> Iterator[torch.Tensor]:
    """As stored, n,C,H,W; the last batch of a part is as small as it is."""
    for part in images.parts:
        for start in range(0, len(part), size):
            stored = part.take(np.arange(start, min(start + size, len(part))))["image"]
            yield stored if images.channels is None else stored[:, images.channels]


def _check_square(parts: tuple[Images, ...]) -> None:
    for part in parts:
        height, width = part.take(np.arange(1))["image"].shape[2:]
        if height != width:
            raise ConfigError(
                f"tta=true: the images have {height}x{width} pixels, and the eight symmetries are those of a square;"
                " leave it at false"
            )
