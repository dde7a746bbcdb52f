"""What tests of training share: a small forest in the floor of every run, data to look at it, runs that are cut off."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from planted_chips import alternating, packed
from terrablate.config import Config
from terrablate.training import floor
from terrablate.training.classifier import Classifier
from terrablate.training.record import Record
from terrablate.training.run import run


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


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[Config], Record]:
    """Train a run, the only one in its `runs_dir`, until it breaks in its third epoch; the record that it leaves."""
    whole = Classifier.training_step

    def interrupted(self: Classifier, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 2:
            raise RuntimeError("cut off")
        return whole(self, batch, batch_idx)

    def trained(config: Config) -> Record:
        with monkeypatch.context() as patched:
            patched.setattr(Classifier, "training_step", interrupted)
            with pytest.raises(RuntimeError, match="cut off"):
                run(config)
        (folder,) = Path(config.runs_dir).iterdir()
        return Record(folder)

    return trained
