"""Consistency training: its divergence against the definition, its order of images, where gradients flow."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from terrablate.config.schema.regularize import Consistency, Regularize
from terrablate.training.regularize import Regularization
from terrablate.training.regularize.consistency import consistency, ramp, unlabelled_positions

PLAIN = torch.tensor([[2.0, 0.0, -1.0], [0.1, 0.0, 0.0]])
AUGMENTED = torch.tensor([[0.5, 1.0, 0.0], [3.0, 0.0, 0.0]])


def divergence(plain: torch.Tensor, augmented: torch.Tensor, temperature: float) -> float:
    target, answer = (plain / temperature).softmax(0), augmented.softmax(0)
    return float((target * (target.log() - answer.log())).sum())


@pytest.mark.parametrize("temperature", [0.4, 1.0])
def test_the_divergence_is_that_of_the_definition(temperature: float) -> None:
    found = consistency(PLAIN, AUGMENTED, temperature=temperature, confidence=0.0)
    expected = [divergence(PLAIN[row], AUGMENTED[row], temperature) for row in range(2)]
    assert found.tolist() == pytest.approx(expected)


def test_images_of_which_the_network_is_not_sure_do_not_count() -> None:
    found = consistency(PLAIN, AUGMENTED, temperature=0.1, confidence=0.6)  # 0.84 and 0.36, before sharpening
    assert found[0] > 0
    assert found[1] == 0


def test_equal_answers_diverge_by_nothing() -> None:
    assert consistency(PLAIN, PLAIN, temperature=1.0, confidence=0.0).abs().max() < 1e-6


def test_no_gradient_flows_through_the_target() -> None:
    plain, augmented = PLAIN.clone().requires_grad_(True), AUGMENTED.clone().requires_grad_(True)
    consistency(plain, augmented, temperature=0.5, confidence=0.0).sum().backward()
    assert plain.grad is None
    assert augmented.grad is not None
    torch.testing.assert_close(augmented.grad, AUGMENTED.softmax(1) - (PLAIN / 0.5).softmax(1))


def test_the_weight_rises_in_a_line() -> None:
    assert [ramp(step, 4.0) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert ramp(0, 0.0) == 1


def test_the_term_is_the_weighted_mean_for_each_image_with_a_label() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3)).train()
    section = Consistency(weight=3.0, ratio=2, temperature=0.5, confidence=0.1, ramp_up=0.5)
    regularization = Regularization(Regularize(consistency=section), network, (), total_steps=10)
    plain, augmented = torch.randn(8, 4), torch.randn(8, 4)
    again = copy.deepcopy(network)
    torch.manual_seed(7)
    found = regularization.consistency(network, plain, augmented, step=2)
    assert network.training
    torch.manual_seed(7)
    answers = again(augmented)
    targets = again.eval()(plain)
    each = consistency(targets, answers, temperature=0.5, confidence=0.1)
    # 8 images without labels belong to 4 with: the mean over the 8, once for each of the 4
    assert found.item() == pytest.approx(4 * 3.0 * (2 / 5) * each.mean().item())
    assert regularization.unlabelled_ratio == 2


def test_a_weight_of_zero_takes_no_images() -> None:
    section = Consistency(weight=0.0, ratio=2, temperature=0.5, confidence=0.1, ramp_up=0.5)
    assert Regularization(Regularize(consistency=section), nn.Linear(1, 1), (), 1).unlabelled_ratio == 0


def test_an_epoch_visits_every_image_before_any_again_and_is_a_function_of_seed_and_epoch() -> None:
    steps = [unlabelled_positions(10, seed=1, epoch=2, start=start, size=4) for start in range(0, 40, 4)]
    whole = np.concatenate(steps)
    for number in range(4):
        assert sorted(whole[10 * number : 10 * number + 10]) == list(range(10))
    assert np.array_equal(unlabelled_positions(10, 1, 2, 0, 40), whole)
    assert not np.array_equal(unlabelled_positions(10, 1, 3, 0, 40), whole)
    assert not np.array_equal(unlabelled_positions(10, 2, 2, 0, 40), whole)


def test_more_images_than_there_are_come_again() -> None:
    assert np.bincount(unlabelled_positions(3, 0, 0, 2, 7)).tolist() in ([2, 2, 3], [2, 3, 2], [3, 2, 2])
