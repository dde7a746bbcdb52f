"""Wrong labels on purpose: to study what they do to a network, and which trick helps. The true ones stay known."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from terrablate.errors import DataError
from terrablate.random_streams import numpy_stream

type Labels = npt.NDArray[np.int64]
type Confusion = npt.NDArray[np.float64]
"""K,K: row i holds the probabilities of the labels that an image of class i is given; each row adds up to 1."""


def noisy(labels: Labels, confusion: Confusion, seed: int) -> Labels:
    """Labels as a careless annotator gives them: each is drawn from the row of its true class.

    What an image gets depends on (seed, its position) alone, so every subset of the images sees the same mistakes. A
    higher rate of symmetric noise makes all mistakes of a lower one, and more.

    Args:
        labels: N, true.
        confusion: K,K.
        seed: draws which labels are wrong, and which they become.
    """
    stream = numpy_stream(seed, "label_noise")
    is_wrong = stream.random(len(labels)) < 1 - confusion[labels, labels]
    which = stream.random(len(labels))
    given = labels.copy()
    for label in np.unique(labels[is_wrong]):
        chosen = np.flatnonzero(is_wrong & (labels == label))
        others = confusion[label].copy()
        others[label] = 0
        bounds = np.cumsum(others)
        # `which` is below 1, so that the last class with a share is the last that can be found
        given[chosen] = np.searchsorted(bounds / bounds[-1], which[chosen], side="right")
    return given


def confusion_matrix(noise: float | str, classes: Sequence[str]) -> Confusion:
    """The confusion K,K that `data.label_noise` asks for: symmetric at a rate, or read from a CSV file.

    Raises:
        DataError: if the file is not what `read_confusion` expects.
    """
    return read_confusion(Path(noise), classes) if isinstance(noise, str) else symmetric_noise(noise, len(classes))


def symmetric_noise(rate: float, num_classes: int) -> Confusion:
    """Each label is wrong with probability `rate`, and then any other class alike (Natarajan et al. 2013).

    Args:
        rate: at least 0, below 1.
        num_classes: two or more.
    """
    confusion = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(confusion, 1 - rate)
    return confusion


def read_confusion(path: Path, classes: Sequence[str]) -> Confusion:
    """Confusion from a CSV file: a header of class names (given labels), then a row a true class, its name first.

    Numbers are counts or probabilities: each row is divided by its sum. Rows and columns stand in any order.

    Raises:
        DataError: if the file cannot be read, a class is missing, unknown or stands twice, a row is too short or too
            long, a number is negative or none, or a row has zeros only.
    """
    key = f"data.label_noise={path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{key}: cannot be read as a CSV file: {getattr(error, 'strerror', None) or error}") from error
    columns = lines[0][1:] if lines else []
    rows = {line[0]: line[1:] for line in lines[1:]}
    for what, names in (("header", columns), ("first column", [line[0] for line in lines[1:]])):
        if sorted(names) != sorted(classes):
            raise DataError(
                f"{key}: {_difference(names, classes)} in its {what}; it must name each of the classes"
                f" {', '.join(classes)} once"
            )
    confusion = np.zeros((len(classes), len(classes)))
    for true, name in enumerate(classes):
        if len(rows[name]) != len(classes):
            raise DataError(f"{key}: the row of {name} has {len(rows[name])} numbers; expected {len(classes)}")
        for column, text in zip(columns, rows[name], strict=True):
            confusion[true, classes.index(column)] = _share(text, f"{key}: row {name}, column {column}")
        if not confusion[true].any():
            raise DataError(f"{key}: the row of {name} has zeros only; it must say which labels such an image gets")
    return confusion / confusion.sum(1, keepdims=True)


def _difference(names: Sequence[str], classes: Sequence[str]) -> str:
    unknown = sorted(set(names) - set(classes))
    missing = sorted(set(classes) - set(names))
    if unknown:
        return f"there is an unknown class {', '.join(unknown)}"
    return f"the class {', '.join(missing)} is missing" if missing else "a class stands twice"


def _share(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not (np.isfinite(number) and number >= 0):
        raise DataError(f"{where}: {text!r} is not a number of at least 0")
    return number
