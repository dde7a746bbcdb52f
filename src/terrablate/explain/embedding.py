"""Embedding map: val images laid out so that those which the network sees alike lie side by side."""

from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from terrablate.explain.findings import Figure, Findings
from terrablate.explain.sheet import DPI, WRONG, blank, fitted, say, wrapped
from terrablate.explain.subject import Subject
from terrablate.training.frozen_features import penultimate_features

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_COMPONENTS = 50
_PERPLEXITY = 30
_NEIGHBOURS = 10
_LEAST = 5
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#8C564B", "#7B4FB5", "#8A8A8A", "#B5BD00")
"""Those of Okabe and Ito that are told apart on white, and four more; not vermilion, which rings what is wrong."""
_MARKERS = "osD^vP*X<>p"
_PANELS = 12

type Points = npt.NDArray[np.float32]


def embedding(subject: Subject, seed: int) -> Findings:
    """The map of the sample.

    Args:
        subject: what is explained.
        seed: of t-SNE.
    """
    positions = subject.sample
    if len(positions) < _LEAST:
        return Findings(reasons=[f"Embedding: {len(positions)} val images are too few for a map."])
    features = penultimate_features(subject.network, subject.batches(positions))
    points = laid_out(features, seed)
    labels = subject.images.labels[positions]
    is_wrong = ~subject.is_right[positions]
    title = "Embedding map"
    among = (
        f"{len(positions)} of the {len(subject.images)}" if len(positions) < len(subject.images) else str(len(points))
    )
    caption = (
        f"What the last layer takes as its input, {features.shape[1]} features, of {among} val images, laid out by PCA"
        " and t-SNE: neighbours are alike to the network; distances between groups mean nothing."
    )
    draw: Any
    if subject.has_several_labels:
        caption += " A panel a class, those on the most images: a cross has it, a dot has not."

        def draw(file: IO[bytes]) -> None:
            _draw_panels(file, f"{title}: {subject.name}", caption, points, labels, subject.classes)

    else:
        caption += (
            f" {100 * _agreement(features, labels):.0f} % of the {min(_NEIGHBOURS, len(points) - 1)} nearest neighbours"
            f" of an image are of its class. Colour and form: true class; ringed: the {int(is_wrong.sum())} that are"
            " answered wrongly."
        )

        def draw(file: IO[bytes]) -> None:
            _draw_map(file, f"{title}: {subject.name}", caption, points, labels, is_wrong, subject.classes)

    return Findings([Figure("embedding.png", title, caption, draw)])


def laid_out(features: npt.NDArray[np.float32], seed: int) -> Points:
    """Features N,F to N,2: standardised, the first 50 principal components, t-SNE (van der Maaten and Hinton 2008).

    Features that do not vary are left out; where none varies, all points are one.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    varying = features[:, features.std(0) > 0]
    if not varying.shape[1] or len(np.unique(varying, axis=0)) < _LEAST:
        return np.zeros((len(features), 2), dtype=np.float32)
    standard = StandardScaler().fit_transform(varying)
    components = min(_COMPONENTS, *standard.shape)
    reduced = PCA(components, svd_solver="full", random_state=seed).fit_transform(standard)
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    start = "pca" if components >= 2 else "random"
    return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(reduced).astype(np.float32)


def _agreement(features: npt.NDArray[np.float32], labels: npt.NDArray[Any]) -> float:
    """Share of the nearest neighbours of images that are of their class, in the features themselves."""
    from sklearn.neighbors import NearestNeighbors

    count = min(_NEIGHBOURS, len(features) - 1)
    near = NearestNeighbors(n_neighbors=count).fit(features).kneighbors(return_distance=False)
    return float((labels[near] == labels[:, None]).mean())


def _draw_map(
    file: IO[bytes],
    title: str,
    caption: str,
    points: Points,
    labels: npt.NDArray[Any],
    is_wrong: npt.NDArray[np.bool_],
    classes: Any,
) -> None:
    present = [int(label) for label in np.unique(labels)]
    a_column = 30
    columns = -(-len(present) // a_column)
    map_side, column_width = 6.2, 1.9 if columns == 1 else 1.55
    width = 0.3 + map_side + columns * column_width
    figure, whole, axes, top = _map_axes(width, map_side, title, caption)
    for number, label in enumerate(present):
        own = labels == label
        axes.scatter(
            points[own, 0],
            points[own, 1],
            s=24,
            linewidths=0.3,
            edgecolors="white",
            alpha=0.85,
            zorder=2,
            **_look(number),
        )
    axes.scatter(
        points[is_wrong, 0], points[is_wrong, 1], s=62, facecolors="none", edgecolors=WRONG, linewidths=1.1, zorder=3
    )
    for number, label in enumerate(present):
        column, row = divmod(number, a_column)
        left, high = 0.35 + map_side + column * column_width, top + 0.1 + row * 0.19
        whole.plot([left], [high], linestyle="none", markersize=5.5, clip_on=False, **_look(number))
        say(whole, left + 0.12, high, fitted(str(classes[label]), column_width - 0.2, 7.5), 7.5, va="center")
    high = top + 0.1 + min(len(present), a_column) * 0.19 + 0.1
    ring: dict[str, Any] = {"markersize": 7.5, "markerfacecolor": "none", "markeredgecolor": WRONG}
    whole.plot([0.35 + map_side], [high], marker="o", linestyle="none", clip_on=False, **ring)
    say(whole, 0.35 + map_side + 0.12, high, "answered wrongly", 7.5, va="center")
    figure.savefig(file, format="png", dpi=DPI)


def _look(number: int) -> dict[str, Any]:
    """Marker and colour of a class; 110 of them differ."""
    return {"marker": _MARKERS[number % len(_MARKERS)], "color": _COLORS[number % len(_COLORS)]}


def _map_axes(width: float, side: float, title: str, caption: str) -> "tuple[Drawing, Axes, Axes, float]":
    """The figure, the axes of all of it, those of the map below the words, and how far down it begins, in inches."""
    heading, note = wrapped(title, width - 0.3, 9.5, 3), wrapped(caption, width - 0.3, 7.5, 6)
    top = 0.3 + 0.165 * len(heading) + 0.13 * len(note)
    height = top + side + 0.15
    figure, whole = blank(width, height)
    say(whole, 0.15, 0.15, "\n".join(heading), 9.5, weight="bold")
    say(whole, 0.15, 0.21 + 0.165 * len(heading), "\n".join(note), 7.5, color="0.3")
    axes = figure.add_axes((0.15 / width, 0.15 / height, side / width, side / height))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.7")
    return figure, whole, axes, top


def _draw_panels(
    file: IO[bytes], title: str, caption: str, points: Points, labels: npt.NDArray[Any], classes: Any
) -> None:
    counts = labels.sum(0)
    shown = [int(label) for label in np.argsort(-counts, kind="stable")[:_PANELS] if counts[label]] or [0]
    abreast = min(4, len(shown))
    lines = -(-len(shown) // abreast)
    side = 2.1
    width = max(0.3 + abreast * (side + 0.15), 6.5)
    heading, note = wrapped(title, width - 0.3, 9.5, 3), wrapped(caption, width - 0.3, 7.5, 6)
    top = 0.3 + 0.165 * len(heading) + 0.13 * len(note)
    height = top + lines * (side + 0.35)
    figure, whole = blank(width, height)
    say(whole, 0.15, 0.15, "\n".join(heading), 9.5, weight="bold")
    say(whole, 0.15, 0.21 + 0.165 * len(heading), "\n".join(note), 7.5, color="0.3")
    for number, label in enumerate(shown):
        left, above = 0.15 + (number % abreast) * (side + 0.15), top + (number // abreast) * (side + 0.35) + 0.2
        words = fitted(f"{classes[label]} ({int(counts[label])})", side, 7.5)
        say(whole, left, above - 0.03, words, 7.5, va="bottom")
        axes = figure.add_axes((left / width, 1 - (above + side) / height, side / width, side / height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("0.7")
        has = labels[:, label] > 0
        axes.scatter(points[~has, 0], points[~has, 1], s=5, color="0.75", linewidths=0)
        axes.scatter(points[has, 0], points[has, 1], s=16, color=_COLORS[0], marker="x", linewidths=1)
    figure.savefig(file, format="png", dpi=DPI)
