"""What one label and several labels make of targets, chance, tolerance and single answers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from terrablate.config import Config
from terrablate.training.finish import monitor_settings
from terrablate.training.losses import BinaryCrossEntropy
from terrablate.training.regularize.consistency import consistency
from terrablate.training.task import ONE_LABEL, SEVERAL_LABELS, task_of

type Compose = Callable[..., Config]


def entropy(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)


def test_the_data_say_which_task_it_is(compose: Compose) -> None:
    assert task_of(compose().data) is task_of(compose("loss=bce").data) is ONE_LABEL
    assert task_of(compose("data=synthetic_multilabel", "loss=bce").data) is SEVERAL_LABELS


def test_targets() -> None:
    assert ONE_LABEL.targets(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    several = SEVERAL_LABELS.targets(torch.tensor([[1, 0, 1]], dtype=torch.uint8), 3)
    assert (several.tolist(), several.dtype) == ([[1, 0, 1]], torch.float32)


def test_objective_and_nll_of_several_labels_are_the_same_quantity() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 6, generator=generator)
    labels = torch.randint(0, 2, (20, 6), generator=generator)
    objective = BinaryCrossEntropy()(logits, SEVERAL_LABELS.targets(labels, 6))
    torch.testing.assert_close(objective, SEVERAL_LABELS.image_nll(logits, labels))
    p = logits.double().sigmoid()
    by_hand = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum(1) / 6
    torch.testing.assert_close(objective.double(), by_hand, atol=1e-6, rtol=1e-5)


def test_chance_is_the_nll_of_answering_the_class_frequencies() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]], np.uint8)
    expected = (entropy(0.25, 0.75) + 0 + 0) / 3
    assert SEVERAL_LABELS.chance_nll(labels) == pytest.approx(expected)
    logits = torch.tensor([[math.log(1 / 3), -100.0, 100.0]]).repeat(4, 1)
    assert SEVERAL_LABELS.curves(logits, torch.from_numpy(labels))["nll"] == pytest.approx(expected, abs=1e-6)
    assert ONE_LABEL.chance_nll(np.array([0, 0, 2, 2])) == pytest.approx(math.log(2))
    assert SEVERAL_LABELS.chance_nll(np.ones((3, 2), np.uint8)) == ONE_LABEL.chance_nll(np.zeros(3, int)) == 1e-9


def test_the_tolerance_is_the_same_share_of_chance(compose: Compose) -> None:
    config = compose("data=synthetic_multilabel", "loss=bce", "monitor.tolerance=0.03")
    labels = np.eye(10, dtype=np.uint8)
    settings = monitor_settings(config, SEVERAL_LABELS.tolerance_scale(labels, 10))
    assert settings.tolerance / SEVERAL_LABELS.chance_nll(labels) == pytest.approx(0.03 / math.log(10))
    assert monitor_settings(config, ONE_LABEL.tolerance_scale(np.arange(10), 10)).tolerance == 0.03


def test_a_class_is_a_question_with_yes_and_no() -> None:
    logits = torch.tensor([[0.3, -2.0], [4.0, 0.0]])
    questions = SEVERAL_LABELS.alternatives(logits)
    assert questions.shape == (4, 2)
    torch.testing.assert_close(questions.softmax(1)[:, 0], logits.sigmoid().flatten())
    assert ONE_LABEL.alternatives(logits) is logits


def test_consistency_of_several_labels_is_the_divergence_of_sigmoids_that_are_sure() -> None:
    plain, changed = torch.tensor([[3.0, 0.1]]), torch.tensor([[1.0, 5.0]])
    found = consistency(
        SEVERAL_LABELS.alternatives(plain), SEVERAL_LABELS.alternatives(changed), temperature=0.5, confidence=0.9
    )
    p, q = 1 / (1 + math.exp(-6)), 1 / (1 + math.exp(-1))  # the target is sharpened
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert found.tolist() == pytest.approx([divergence, 0.0], rel=1e-4)  # of the second class nobody is sure


def test_a_bad_answer_is_told_with_what_is_wrong() -> None:
    logits = torch.tensor([math.log(3), -math.log(3), math.log(3)])
    told = SEVERAL_LABELS.answer(logits, np.array([1, 1, 0]), ("a", "b", "c"))
    assert told["labels"] == ["a", "b"]
    assert told["predicted"] == ["a", "c"]
    assert told["probability_of_wrong"] == pytest.approx({"b": 0.25, "c": 0.75})
    one = ONE_LABEL.answer(torch.tensor([0.0, math.log(3)]), np.int64(0), ("a", "b"))
    assert (one["label"], one["predicted"]) == ("a", "b")
    assert one["probability_of_label"] == pytest.approx(0.25)
