"""Options at evaluation: views of an image, dropout that stays on, and means of probabilities."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

type View = Callable[[torch.Tensor], torch.Tensor]
"""Images n,C,H,W to images of the same shape."""

RATES = (
    "drop_rate", "drop_path_rate", "patch_drop_rate", "attn_drop_p", "drop", "drop_prob", "dropout",
    "attention_dropout",
)  # fmt: skip
"""Attributes in which networks and layers keep rates that they apply as functions; as `models.dropout` has them."""


def symmetry(number: int) -> View:
    """One of the eight symmetries of the square: 0 to 3 turn by that many quarters, 4 to 7 mirror besides."""

    def view(images: torch.Tensor) -> torch.Tensor:
        turned = torch.rot90(images, number % 4, (2, 3))
        return turned.flip(3) if number >= 4 else turned

    return view


SYMMETRIES: tuple[View, ...] = tuple(symmetry(number) for number in range(8))


class MeanProbability:
    """The mean of the probabilities that several predictions give, as logits that give these probabilities.

    Args:
        several: whether each class is a question of its own (sigmoid), rather than one among all (softmax).
    """

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._sums: tuple[torch.Tensor, ...] = ()
        """Logarithms of sums of probabilities: of the classes; or of yes and of no."""
        self._count = 0

    def add(self, logits: torch.Tensor) -> None:
        """Take in a prediction, N,K."""
        values = logits.double()
        new = (F.logsigmoid(values), F.logsigmoid(-values)) if self._several else (F.log_softmax(values, 1),)
        self._sums = (
            tuple(torch.logaddexp(old, each) for old, each in zip(self._sums, new, strict=True)) if self._sums else new
        )
        self._count += 1

    def logits(self) -> torch.Tensor:
        """N,K float32; for one label the logarithms of the mean probabilities, for several their log odds."""
        if self._several:
            return (self._sums[0] - self._sums[1]).float()
        return (self._sums[0] - torch.tensor(float(self._count)).log()).float()


def has_dropout(network: nn.Module) -> bool:
    """Whether a network has dropout of any kind, with a rate above 0."""
    return any(map(_drops, network.modules()))


@contextmanager
def dropout_left_on(network: nn.Module) -> Iterator[None]:
    """A network with its dropout as in training and all else, such as batch normalisation, as in evaluation.

    Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation".
    """
    network.eval()
    try:
        for module in network.modules():
            if _drops(module):
                module.training = True  # of this module alone, not of those below it
        yield
    finally:
        network.eval()


def _drops(module: nn.Module) -> bool:
    kind = type(module).__name__
    names: tuple[str, ...] = (*RATES, "prob") if "Drop" in kind else RATES
    if isinstance(module, _DropoutNd) or kind == "StochasticDepth":
        names = ("p",)
    return any(isinstance(rate := getattr(module, name, None), float) and rate > 0 for name in names)
