"""Where variants err: confusions, accuracy by class, reliability, and which val images most seeds get wrong."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from terrablate.report.pictures import Pictures
from terrablate.report.records import Floats, Predictions

BINS = 15
"""Of the reliability diagram, as of `ece`."""
MOST_IMAGES = 12
"""In the gallery of a variant."""
MOST_SUSPECTS = 200


@dataclass
class Mistakes:
    """Adds up the predictions of a variant's runs.

    Args:
        classes: K names.
        several: whether an image has several labels.
    """

    classes: tuple[str, ...]
    several: bool
    runs: int = 0
    counts: Floats = field(init=False)
    """K,K images by true (row) and predicted class; of several labels K,4: right yes, wrong yes, wrong no, right no."""
    bins: Floats = field(init=False)
    """BINS,3: sum of confidences, number that were right, number."""
    ece: list[float] = field(default_factory=list)
    """Of each run."""
    wrong: dict[str, list[tuple[float, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """By image, for each run that got it wrong: confidence in the wrong answer, label, answer."""

    def __post_init__(self) -> None:
        size = len(self.classes)
        self.counts = np.zeros((size, 4 if self.several else size))
        self.bins = np.zeros((BINS, 3))

    def add(self, found: Predictions) -> bool:
        """Take in a run; whether its predictions fit the classes."""
        if found.probabilities.shape[1] != len(self.classes) or found.several != self.several:
            return False
        if not self.several and (found.labels.min(initial=0) < 0 or found.labels.max(initial=0) >= len(self.classes)):
            return False
        self.runs += 1
        if self.several:
            self._add_several(found)
        else:
            self._add_one(found)
        return True

    def _add_one(self, found: Predictions) -> None:
        predicted = found.probabilities.argmax(1)
        confidence = found.probabilities.max(1)
        np.add.at(self.counts, (found.labels, predicted), 1)
        self._calibrate(confidence, predicted == found.labels)
        for place in np.flatnonzero(predicted != found.labels).tolist():
            words = self.classes[int(found.labels[place])], self.classes[int(predicted[place])]
            self.wrong[found.ids[place]].append((float(confidence[place]), *words))

    def _add_several(self, found: Predictions) -> None:
        yes, there = found.probabilities > 0.5, found.labels == 1
        cells = (yes & there, yes & ~there, ~yes & there, ~yes & ~there)
        self.counts += np.stack([cell.sum(0) for cell in cells], axis=1)
        self._calibrate(found.probabilities.ravel(), there.ravel())
        surprise = np.where(yes != there, np.abs(found.probabilities - there), 0).max(1)
        for place in np.flatnonzero(surprise > 0).tolist():
            words = self._names(there[place]), self._names(yes[place])
            self.wrong[found.ids[place]].append((float(surprise[place]), *words))

    def _names(self, chosen: Any) -> str:
        return ", ".join(name for name, is_chosen in zip(self.classes, chosen, strict=True) if is_chosen) or "none"

    def _calibrate(self, confidence: Floats, right: Any) -> None:
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        own = np.stack([np.bincount(place, weights, BINS) for weights in (confidence, right.astype(float), None)], 1)
        self.bins += own
        self.ece.append(float(np.abs(own[:, 0] - own[:, 1]).sum() / max(own[:, 2].sum(), 1)))

    def to_dict(self) -> dict[str, Any]:
        """For the page: counts as they are, or by place where most are zero."""
        flat = self.counts.astype(int).ravel()
        places = np.flatnonzero(flat)
        sparse = len(places) * 2 < len(flat)
        return {
            "runs": self.runs,
            "classes": list(self.classes),
            "several": self.several,
            "counts": None if sparse else flat.tolist(),
            "places": places.tolist() if sparse else None,
            "values": flat[places].tolist() if sparse else None,
            "bins": [[round(float(cell), 3) for cell in row] for row in self.bins],
            "ece": [round(value, 5) for value in self.ece],
        }

    def worst(self, has_picture: Iterable[str]) -> list[dict[str, Any]]:
        """The images that most runs got wrong, the most confident mistakes first, of those that can be shown."""
        known = set(has_picture)
        ranked = sorted(
            ((image, tries) for image, tries in self.wrong.items() if image in known),
            key=lambda each: (-len(each[1]), -sum(confidence for confidence, *_ in each[1]), each[0]),
        )
        return [
            {
                "id": image,
                "label": tries[0][1],
                "predicted": Counter(answer for *_, answer in tries).most_common(1)[0][0],
                "wrong": len(tries),
                "runs": self.runs,
                "confidence": round(sum(confidence for confidence, *_ in tries) / len(tries), 4),
            }
            for image, tries in ranked[:MOST_IMAGES]
        ]


def gallery(
    mistakes: Mapping[str, Mistakes], shown: Mapping[str, Sequence[tuple[Path, Mapping[str, Any]]]], pictures: Pictures
) -> dict[str, list[dict[str, Any]]]:
    """The worst images of each variant with the keys of their pictures, the worst of all variants first.

    Args:
        mistakes: by variant.
        shown: by variant, the items of its runs' `worst/index.json`, each with the run's folder.
        pictures: takes in what is shown, as far as there is room.
    """
    files = {name: _by_image(items) for name, items in shown.items()}
    anywhere = _by_image([item for items in shown.values() for item in items])
    files = {name: anywhere | files.get(name, {}) for name in mistakes}  # its own pictures, as far as they go
    ranked = {name: found.worst(files[name]) for name, found in mistakes.items()}
    kept: dict[str, list[dict[str, Any]]] = {name: [] for name in ranked}
    for rank in range(MOST_IMAGES):
        for name, items in ranked.items():
            if rank < len(items):
                item = items[rank]
                key = pictures.add(files[name][item["id"]])
                if key is not None:
                    kept[name].append({**item, "picture": key})
    return kept


def _by_image(items: Iterable[tuple[Path, Mapping[str, Any]]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder, item in items:
        found.setdefault(item["id"], folder / item["file"])
    return found


def suspected(tables: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, Any]]:
    """Training images with suspected labels, those that most runs suspect first.

    Args:
        tables: `suspects.csv` of each run.
    """
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for rows in tables:
        for row in rows:
            votes[row["id"], row["given"]][row["suggested"]] += 1
    ranked = sorted(votes.items(), key=lambda each: (-each[1].total(), each[0]))
    return [
        {
            "id": image,
            "given": given,
            "suggested": suggestions.most_common(1)[0][0],
            "runs": suggestions.total(),
            "of": len(tables),
        }
        for (image, given), suggestions in ranked[:MOST_SUSPECTS]
    ]
