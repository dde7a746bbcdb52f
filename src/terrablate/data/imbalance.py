"""Rare classes: made on purpose (a long tail), and evened out again (balanced sampling)."""

import numpy as np
import numpy.typing as npt

from terrablate.data.subsets import Indices
from terrablate.random_streams import numpy_stream


def long_tail(counts: npt.NDArray[np.int64], factor: float) -> npt.NDArray[np.int64]:
    """Class sizes K that fall exponentially from the first class to the last, to 1/factor of it (Cui et al. 2019).

    Class k keeps `n_k * factor ** (-k / (K - 1))` images, rounded, at least one of those it has. The first class keeps
    all. A larger factor never keeps more.

    Args:
        counts: K, images that each class has; two classes or more.
        factor: at least 1, which keeps all.
    """
    kept = counts * factor ** (-np.arange(len(counts)) / (len(counts) - 1))
    return np.maximum(np.floor(kept + 0.5).astype(np.int64), np.minimum(counts, 1))


def balanced_order(labels: npt.NDArray[np.int64], seed: int, epoch: int) -> Indices:
    """An epoch that shows every class equally often: as many positions as there are images, in random order.

    Where the number of images is no multiple of the number of classes, some classes, drawn anew each epoch, are shown
    once more. Within a class every image is shown before one is repeated; of a frequent class only a part, drawn anew
    each epoch, is shown. A function of (seed, epoch).

    Args:
        labels: N; classes that do not occur are passed over.
        seed: of the run.
        epoch: from 0.
    """
    stream = numpy_stream(seed, "order", epoch)
    classes = np.unique(labels)
    share, rest = divmod(len(labels), len(classes))
    once_more = set(stream.permutation(len(classes))[:rest].tolist())
    drawn = []
    for rank, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        count = share + (rank in once_more)
        rounds = [stream.permutation(members) for _ in range(-(-count // len(members)))]
        drawn.append(np.concatenate(rounds)[:count])
    return stream.permutation(np.concatenate(drawn))
