"""What tests of training share: a small forest in the classical floor of every run, and data on which to look at it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from planted_chips import alternating, packed
from terrablate.training import floor


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forest of full size takes longer than most runs of a test."""
    monkeypatch.setattr(floor, "TREES", 30)


@pytest.fixture
def planted(tmp_path: Path) -> SimpleNamespace:
    """40 training and 20 val images of two classes that one band tells apart."""
    return packed(tmp_path / "pack", alternating(40), alternating(20))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of training images of each fit of a floor from here on."""
    counts: list[int] = []
    fit = floor.fit_and_score

    def counted(train: Any, *others: Any) -> Any:
        counts.append(len(train))
        return fit(train, *others)

    monkeypatch.setattr(floor, "fit_and_score", counted)
    return counts
