"""Suspected wrong labels: the formula, the network that is asked, and what is found of mistakes made on purpose."""

import csv
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.data.batches import Images
from terrablate.data.module import ChipDataModule
from terrablate.training.floor import classical_floor
from terrablate.training.record import Record
from terrablate.training.run import prepare, run
from terrablate.training.suspects import find_suspects, train_logits

type Compose = Callable[..., Config]

SMALL = (
    "model=small_cnn", "model.width=8", "norm=batch", "trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=32",
)  # fmt: skip


def table(record: Record) -> list[dict[str, str]]:
    with (record.folder / "suspects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# --- the formula


def confident(classes: list[int], num_classes: int = 3, probability: float = 0.9) -> torch.Tensor:
    """Logits N,K of a network that gives these classes a probability, and the others alike."""
    shares = torch.full((len(classes), num_classes), (1 - probability) / (num_classes - 1))
    shares[torch.arange(len(classes)), classes] = probability
    return shares.log()


def test_confident_disagreement_is_suspected_and_told_worst_first() -> None:
    seen = [0] * 10 + [1] * 10 + [2] * 10
    logits = confident(seen)
    logits[4] = torch.tensor([0.02, 0.97, 0.01]).log()
    logits[13] = torch.tensor([0.01, 0.96, 0.03]).log()
    given = np.array(seen)
    given[13], given[25] = 2, 0
    given[4] = 0
    suspects = find_suspects(logits, given)
    assert suspects.positions.tolist() == [4, 13, 25]
    assert suspects.suggested.tolist() == [1, 1, 2]
    assert suspects.score == pytest.approx([0.02, 0.03, 0.05], abs=1e-6)


def test_agreement_is_not_suspected_however_unsure() -> None:
    seen = [0, 1, 2] * 10
    for probability in (0.9, 0.4):
        assert len(find_suspects(confident(seen, probability=probability), np.array(seen)).positions) == 0


def test_classes_of_which_no_image_is_there_are_passed_over() -> None:
    given = np.array([0] * 10 + [2] * 10)
    given[3] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        suspects = find_suspects(confident([0] * 10 + [2] * 10, num_classes=5), given)
    assert (suspects.positions.tolist(), suspects.suggested.tolist()) == ([3], [0])


# --- the network that is asked


class Drops(nn.Module):
    """One weight, and dropout that would show."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.dropout = nn.Dropout(0.9)

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        return self.dropout(stored.float().mean((2, 3)) * self.weight)


def test_logits_are_those_of_the_given_weights_in_eval_mode_and_the_module_is_left_as_it_was() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 2, 4, 4), dtype=np.uint8)
    module = Drops(1.0).train()
    logits = train_logits(
        module,  # type: ignore[arg-type]
        Images(pixels, np.zeros(300, np.int64), np.arange(300)[::-1].copy()),
        {"weight": torch.tensor(3.0)},
    )
    torch.testing.assert_close(logits, torch.from_numpy(pixels[::-1].copy()).float().mean((2, 3)) * 3)
    assert module.weight.item() == 1
    assert module.training


# --- the record


def test_a_run_lists_its_suspects_and_says_what_it_was_trained_on(compose: Compose) -> None:
    record = run(compose(*SMALL, "data.imbalance=2"))
    result = record.result()
    assert result is not None
    assert result["train_labels"] == {"by_class": [4, 4, 3, 3, 3, 3, 3, 2, 2, 2], "changed": 0}
    suspects, rows = result["suspects"], table(record)
    assert suspects["images"] == 29
    assert suspects["epoch"] == result["best"]["epoch"]
    assert suspects["found"] == len(rows) == round(suspects["share"] * 29)
    assert not {"changed", "precision", "recall"} & set(suspects)
    assert all(list(row) == ["id", "given", "suggested", "score"] for row in rows)
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)


def test_a_limit_of_evaluated_images_holds_here_too(compose: Compose) -> None:
    result = run(compose(*SMALL, "debug.max_eval_images=12")).result()
    assert result is not None
    assert result["suspects"]["images"] == 12


@pytest.mark.parametrize("override", ["finetune=frozen_features", "suspects=false"])
def test_nobody_is_suspected_by_frozen_features_or_unasked(compose: Compose, override: str) -> None:
    record = run(compose(*SMALL, override))
    result = record.result()
    assert result is not None
    assert result["suspects"] is None
    assert not (record.folder / "suspects.csv").exists()


def test_the_floor_learns_from_the_labels_that_the_network_learns_from(compose: Compose, fits: list[int]) -> None:
    clean, wrong = (classical_floor(ChipDataModule(compose(f"data.label_noise={noise}")), 1) for noise in (0, 0.8))
    assert fits == [40, 40]  # the second was not taken for the first
    assert wrong["random_forest"]["accuracy"] < clean["random_forest"]["accuracy"]


def test_label_noise_makes_another_run(compose: Compose) -> None:
    jobs = [prepare(compose(*SMALL, f"data.label_noise={noise}")) for noise in ("null", 0, 0.2, 0.4)]
    assert jobs[0].identity == jobs[1].identity
    assert len({job.identity for job in jobs}) == 3


@pytest.mark.slow
def test_most_mistakes_made_on_purpose_are_found(compose: Compose) -> None:
    made = compose(
        "model=small_cnn", "norm=batch", "aug=flip", "trainer=cpu", "trainer.threads=1", "epochs=8", "batch_size=32",
        "data.train=1000", "data.val=200", "data.size=24", "data.label_noise=0.2",
    )  # fmt: skip
    record = run(made)
    result = record.result()
    assert result is not None
    suspects, rows = result["suspects"], table(record)
    assert suspects["images"] == 1000
    assert suspects["changed"] == result["train_labels"]["changed"]
    assert 150 <= suspects["changed"] <= 250
    hits = [row["true"] != row["given"] for row in rows]
    assert suspects["precision"] == pytest.approx(np.mean(hits))
    assert suspects["recall"] == pytest.approx(sum(hits) / suspects["changed"])
    assert suspects["recall"] > 0.7
    assert suspects["precision"] > 0.35  # twice its share, of a network that is right in half of val
    assert np.mean(hits[:50]) > 0.85  # the worst come first
    right = [row["suggested"] == row["true"] for row, is_wrong in zip(rows, hits, strict=True) if is_wrong]
    assert np.mean(right) > 0.4  # by chance 0.11
