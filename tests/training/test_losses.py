"""Losses against their definitions, written out: values, gradients, soft targets, extreme logits, class weights."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from terrablate.config.schema import loss as sections
from terrablate.errors import ConfigError
from terrablate.training.losses import Loss, class_weights, focal, make_loss, smooth

COUNTS = [6, 3, 1]

CROSS_ENTROPY = sections.CrossEntropy()
SMOOTHING = sections.LabelSmoothing(name="label_smoothing", loss="label_smoothing", epsilon=0.3)
WEIGHTED = sections.Weighted(name="weighted", loss="weighted", beta=None)
EFFECTIVE = sections.Weighted(name="weighted", loss="weighted", beta=0.9)
FOCAL = sections.Focal(name="focal", loss="focal", gamma=2.0)
SQUARED = sections.SquaredError(name="l2", loss="l2")
BINARY = sections.BinaryCrossEntropy(name="bce", loss="bce")
ALL = [CROSS_ENTROPY, SMOOTHING, WEIGHTED, EFFECTIVE, FOCAL, SQUARED, BINARY]
every_loss = pytest.mark.parametrize("section", ALL, ids=lambda section: section.name)


def logits(seed: int = 0, images: int = 4) -> torch.Tensor:
    return 2 * torch.randn(images, 3, generator=torch.Generator().manual_seed(seed))


def one_hot(*labels: int) -> torch.Tensor:
    return F.one_hot(torch.tensor(labels), 3).float()


def made(section: sections.Loss) -> Loss:
    return make_loss(section, COUNTS)


# --- what all share


@every_loss
def test_a_loss_gives_one_finite_value_an_image_of_zero_or_more(section: sections.Loss) -> None:
    values = made(section)(logits(), one_hot(0, 1, 2, 0))
    assert values.shape == (4,)
    assert values.dtype == torch.float32
    assert bool((values >= 0).all())


@every_loss
def test_an_image_does_not_see_the_others(section: sections.Loss) -> None:
    whole = made(section)(logits(), one_hot(0, 1, 2, 0))
    for row in range(4):
        alone = made(section)(logits()[row : row + 1], one_hot(0, 1, 2, 0)[row : row + 1])
        torch.testing.assert_close(alone, whole[row : row + 1])


@every_loss
def test_a_step_down_the_gradient_lowers_the_loss(section: sections.Loss) -> None:
    given = logits().requires_grad_()
    before = made(section)(given, one_hot(0, 1, 2, 0)).sum()
    before.backward()
    assert given.grad is not None
    after = made(section)((given - 0.01 * given.grad).detach(), one_hot(0, 1, 2, 0)).sum()
    assert after < before


@every_loss
def test_gradients_are_those_of_finite_differences(section: sections.Loss) -> None:
    targets = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    module = made(section).double()
    inputs = logits(images=2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: module.per_image(given, targets), (inputs,))


@every_loss
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_give_finite_losses_and_gradients(section: sections.Loss, size: float) -> None:
    given = torch.tensor([[size, -size, 0.0], [-size, size, 0.0]], requires_grad=True)
    values = made(section)(given, one_hot(0, 0))  # one surely right, one surely wrong
    values.sum().backward()
    assert given.grad is not None
    assert bool(values.isfinite().all())
    assert bool(given.grad.isfinite().all())


@every_loss
def test_half_precision_logits_are_computed_in_full(section: sections.Loss) -> None:
    halved = logits().bfloat16()
    values = made(section)(halved, one_hot(0, 1, 2, 0))
    assert values.dtype == torch.float32
    assert torch.equal(values, made(section)(halved.float(), one_hot(0, 1, 2, 0)))


@every_loss
def test_autocast_does_not_lower_the_precision(section: sections.Loss) -> None:
    expected = made(section)(logits(), one_hot(0, 1, 2, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(section)(logits(), one_hot(0, 1, 2, 0)), expected)


@every_loss
def test_labels_in_place_of_targets_are_refused(section: sections.Loss) -> None:
    with pytest.raises(ValueError, match=r"logits \(3, 3\) and targets \(3,\) must both be N,K"):
        made(section)(logits(images=3), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    "section", [CROSS_ENTROPY, SMOOTHING, WEIGHTED, FOCAL, BINARY], ids=lambda section: section.name
)
def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(section: sections.Loss) -> None:
    """So mixup on soft targets is Zhang et al. 2018, who mix the losses of both labels."""
    first, second = one_hot(0, 1, 2, 0), one_hot(2, 2, 1, 1)
    mixed = made(section)(logits(), 0.3 * first + 0.7 * second)
    torch.testing.assert_close(mixed, 0.3 * made(section)(logits(), first) + 0.7 * made(section)(logits(), second))


def test_only_the_network_has_a_state_to_save() -> None:
    assert made(WEIGHTED).state_dict() == {}
    assert [name for name, _ in made(WEIGHTED).named_buffers()] == ["weights"]  # it moves to the device, too


# --- cross-entropy and label smoothing


def test_cross_entropy_is_torchs_in_value_and_in_every_bit_of_its_gradient() -> None:
    ours, theirs = logits().requires_grad_(), logits().requires_grad_()
    values = made(CROSS_ENTROPY)(ours, one_hot(0, 1, 2, 0))
    expected = F.cross_entropy(theirs, torch.tensor([0, 1, 2, 0]), reduction="none")
    torch.testing.assert_close(values, expected)
    values.sum().backward()
    expected.sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_smoothed_targets_by_hand() -> None:
    expected = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    torch.testing.assert_close(smooth(one_hot(0, 2), 0.3), expected)


def test_label_smoothing_by_hand() -> None:
    # softmax of these logits is (1/2, 1/4, 1/4)
    given = torch.tensor([[math.log(2), 0.0, 0.0]])
    value = made(SMOOTHING)(given, one_hot(0))
    assert value.item() == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4))
    torch.testing.assert_close(
        made(SMOOTHING)(logits(), one_hot(0, 1, 2, 0)),
        F.cross_entropy(logits(), torch.tensor([0, 1, 2, 0]), reduction="none", label_smoothing=0.3),
    )


# --- class weights


def test_weights_as_one_over_the_count_by_hand() -> None:
    weights = class_weights(COUNTS, None)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])


def test_weights_as_one_over_the_effective_number_by_hand() -> None:
    inverse = [0.1 / (1 - 0.9**count) for count in COUNTS]
    mean = sum(count * each for count, each in zip(COUNTS, inverse, strict=True)) / 10
    assert class_weights(COUNTS, 0.9).tolist() == pytest.approx([each / mean for each in inverse])


@pytest.mark.parametrize("beta", [None, 0.5, 0.9999, 1 - 1e-12])
def test_the_mean_weight_over_the_training_images_is_one(beta: float | None) -> None:
    counts = [1000, 10, 1, 0]
    weights = class_weights(counts, beta)
    assert sum(count * weight for count, weight in zip(counts, weights.tolist(), strict=True)) == pytest.approx(1011)
    assert weights[0] < weights[1] < weights[2]
    assert weights[3] == 0


def test_effective_numbers_go_from_equal_weights_to_one_over_the_count() -> None:
    assert class_weights(COUNTS, 1e-9).tolist() == pytest.approx([1, 1, 1])
    assert class_weights(COUNTS, 1 - 1e-9).tolist() == pytest.approx(class_weights(COUNTS, None).tolist(), rel=1e-6)


def test_weighting_is_sampling_all_classes_equally_often() -> None:
    """The weighted sum over the images is that of a set in which images are repeated until classes are even."""
    labels = [0] * 6 + [1] * 3 + [2]
    given = logits(images=10)
    weighted = made(WEIGHTED)(given, one_hot(*labels)).sum()
    repeats = torch.tensor([{6: 1, 3: 2, 1: 6}[COUNTS[label]] for label in labels])
    oversampled = made(CROSS_ENTROPY)(given, one_hot(*labels)).repeat_interleave(repeats)
    assert len(oversampled) == 18
    assert weighted.item() == pytest.approx(oversampled.mean().item() * 10, rel=1e-6)


@pytest.mark.parametrize("counts", [[5, 5, 5], [5, 0, 5]])
def test_weights_that_change_nothing_are_refused(counts: list[int]) -> None:
    with pytest.raises(ConfigError, match="loss=weighted: all classes have equally many training images"):
        make_loss(WEIGHTED, counts)


# --- focal, squared error, several labels


def test_focal_by_hand() -> None:
    given = torch.tensor([[math.log(2), 0.0, 0.0], [0.0, 0.0, math.log(2)]])
    values = focal(given, one_hot(0, 0), gamma=3.0)
    assert values.tolist() == pytest.approx([0.5**3 * math.log(2), 0.75**3 * math.log(4)])


def test_focal_with_gamma_towards_zero_is_cross_entropy() -> None:
    torch.testing.assert_close(
        focal(logits(), one_hot(0, 1, 2, 0), 1e-7), made(CROSS_ENTROPY)(logits(), one_hot(0, 1, 2, 0))
    )


def test_focal_with_a_small_gamma_has_a_gradient_where_the_network_is_certain() -> None:
    given = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    focal(given, one_hot(0), gamma=0.5).sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [[0, 0, 0]]


def test_squared_error_by_hand() -> None:
    given = torch.tensor([[math.log(2), 0.0, 0.0], [-1e4, 1e4, -1e4]])
    values = made(SQUARED)(given, one_hot(0, 0))
    assert values.tolist() == pytest.approx([0.25 + 2 * 0.0625, 2.0])
    soft = made(SQUARED)(given[:1], torch.tensor([[0.5, 0.5, 0.0]]))
    assert soft.item() == pytest.approx(2 * 0.0625)


def test_binary_cross_entropy_by_hand() -> None:
    given = torch.tensor([[math.log(3), 0.0, -math.log(3)]])  # probabilities 3/4, 1/2, 1/4
    values = made(BINARY)(given, torch.tensor([[1.0, 1.0, 0.0]]))
    assert values.item() == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 3)


# --- a knob must turn


@pytest.mark.parametrize(
    ("section", "change"),
    [
        (SMOOTHING, lambda: sections.LabelSmoothing(name="label_smoothing", loss="label_smoothing", epsilon=0.1)),
        (WEIGHTED, lambda: EFFECTIVE),
        (FOCAL, lambda: sections.Focal(name="focal", loss="focal", gamma=1.0)),
    ],
)
def test_every_key_changes_the_loss(section: sections.Loss, change: Callable[[], sections.Loss]) -> None:
    targets = one_hot(0, 1, 2, 0)
    assert not torch.allclose(made(section)(logits(), targets), made(change())(logits(), targets))


@pytest.mark.parametrize("section", ALL[1:], ids=lambda section: section.name)
def test_every_choice_differs_from_the_neutral_one(section: sections.Loss) -> None:
    targets = one_hot(0, 1, 2, 0)
    assert not torch.allclose(made(section)(logits(), targets), made(CROSS_ENTROPY)(logits(), targets))


def test_the_sum_over_images_trains_a_network_alike_however_they_are_shared_out() -> None:
    """What DDP and accumulation rest on: gradients of parts, over the size of the whole, add up to its own."""
    torch.manual_seed(0)
    network, images, targets = nn.Linear(5, 3), torch.randn(10, 5), one_hot(*([0, 1, 2] * 3 + [0]))
    for parts in ([10], [7, 3], [4, 4, 2]):
        network.zero_grad()
        for image, target in zip(images.split(parts), targets.split(parts), strict=True):
            (made(WEIGHTED)(network(image), target).sum() / 10).backward()
        assert network.weight.grad is not None
        if len(parts) == 1:
            whole = network.weight.grad.clone()
        torch.testing.assert_close(network.weight.grad, whole)
