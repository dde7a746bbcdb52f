"""What is explained: a network with its val images, their labels, and what it answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from terrablate.data.batches import Images
from terrablate.training.figures import Picture, TrueColor
from terrablate.training.inputs import Inputs
from terrablate.training.task import Task

_BATCH = 64
_SHOWN = 200
"""Images from which the stretch of the pictures is taken."""

type Positions = npt.NDArray[np.int64]


@dataclass
class Subject:
    """A network in eval mode, the val images as they are stored, and its answers.

    Args:
        network: on `device`.
        inputs: what stands before it, on `device`.
        images: of val.
        logits: N,K of these images, on the CPU; of the classifier of frozen features where the run has one.
        task: what the labels ask for.
        classes: K names.
        bands: names of the channels.
        rgb: names of the red, green and blue band, if any.
        name: of the run.
        device: of the network.
        sample: positions of the val images that are looked at where all would be too many.
        head_answers: whether the logits are those of the network's own head.
    """

    network: nn.Module
    inputs: Inputs
    images: Images
    logits: torch.Tensor
    task: Task
    classes: Sequence[str]
    bands: Sequence[str]
    rgb: Sequence[str] | None
    name: str
    device: torch.device
    sample: Positions
    head_answers: bool = True

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may show several classes."""
        return self.images.labels.ndim == 2

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.images.take(np.zeros(1, dtype=np.int64))["image"].shape[-1])

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """N,K: a softmax over the classes; of several labels a sigmoid a class."""
        return self.logits.sigmoid() if self.has_several_labels else self.logits.softmax(1)

    @cached_property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """N: whether the answer is the label; of several labels, all of them."""
        labels = torch.from_numpy(self.images.labels)
        if self.has_several_labels:
            return ((self.logits > 0) == (labels > 0)).all(1).numpy()
        return (self.logits.argmax(1) == labels).numpy()

    @cached_property
    def nll(self) -> torch.Tensor:
        """N: of each image, in nats."""
        return self.task.image_nll(self.logits, torch.from_numpy(self.images.labels))

    @cached_property
    def _true_color(self) -> TrueColor:
        some = self.sample[: min(_SHOWN, len(self.sample))]
        return TrueColor(self.bands, self.rgb, self.images.take(some)["image"].cpu().numpy())

    def picture(self, position: int) -> Picture:
        """H,W,3 in [0, 1], in true colour where red, green and blue are known."""
        stored = self.images.take(np.array([position]))["image"][0]
        return self._true_color(stored.cpu().numpy())

    def inputs_of(self, positions: Positions) -> torch.Tensor:
        """What the network takes: n,C,H,W float32, standardised, on its device."""
        return self.inputs(self.images.take(positions)["image"].to(self.device))

    def batches(self, positions: Positions) -> Iterator[torch.Tensor]:
        """The same, a few images at a time."""
        for start in range(0, len(positions), _BATCH):
            yield self.inputs_of(positions[start : start + _BATCH])

    def label(self, position: int) -> str:
        """Name of the true class, or of all of them."""
        label = self.images.labels[position]
        if not self.has_several_labels:
            return str(self.classes[int(label)])
        return _listed([name for name, there in zip(self.classes, label, strict=True) if there])

    def answer(self, position: int) -> str:
        """Name of the predicted class with its probability, or names of all that are predicted."""
        if not self.has_several_labels:
            likely = int(self.probabilities[position].argmax())
            return f"{self.classes[likely]} {_percent(self.probabilities[position, likely])}"
        logits = self.logits[position].tolist()
        return _listed([name for name, logit in zip(self.classes, logits, strict=True) if logit > 0])

    def questions(self, position: int) -> list[tuple[int, str]]:
        """Classes of which it is asked where the network sees them, each with a few words.

        The predicted class, and of a wrong answer the true one, too. Of several labels the most probable class of a
        right answer; of a wrong one the surest class that is not there, and the one that is missed most.
        """
        chances = self.probabilities[position]
        label = self.images.labels[position]
        if self.has_several_labels:
            there = torch.from_numpy(np.asarray(label) > 0)
            if self.is_right[position]:
                return [self._asked(int(chances.argmax()), position, "sees")]
            said = [int(index) for index in torch.where((chances > 0.5) & ~there)[0]]
            missed = [int(index) for index in torch.where((chances <= 0.5) & there)[0]]
            wrongly = [self._asked(max(said, key=lambda k: float(chances[k])), position, "not there:")] if said else []
            wanting = [self._asked(min(missed, key=lambda k: float(chances[k])), position, "missed:")] if missed else []
            return [*wrongly, *wanting]
        predicted, true = int(chances.argmax()), int(label)
        asked = [self._asked(predicted, position, "for")]
        return asked if predicted == true else [*asked, self._asked(true, position, "for")]

    def _asked(self, index: int, position: int, how: str) -> tuple[int, str]:
        return index, f"{how} {self.classes[index]} {_percent(self.probabilities[position, index])}"

    def right_ones(self, count: int, generator: np.random.Generator) -> list[int]:
        """Positions of rightly answered images, drawn at random, one a class in turn."""
        order = generator.permutation(np.flatnonzero(self.is_right))
        turns: dict[str, int] = {}
        keyed = []
        for place, position in enumerate(order):
            label = self.label(int(position))
            turns[label] = turns.get(label, 0) + 1
            keyed.append((turns[label], place, int(position)))
        return [position for _, _, position in sorted(keyed)[:count]]

    def wrong_ones(self, count: int) -> list[int]:
        """Positions of wrongly answered images, the worst NLL first."""
        order = self.nll.argsort(descending=True, stable=True).numpy()
        return [int(position) for position in order if not self.is_right[position]][:count]


def _percent(probability: torch.Tensor | float) -> str:
    share = 100 * float(probability)
    if 0 < share < 1:
        return "<1 %"
    return ">99 %" if 99 < share < 100 else f"{share:.0f} %"


def _listed(names: list[Any]) -> str:
    return ", ".join(map(str, names)) if names else "(none)"
