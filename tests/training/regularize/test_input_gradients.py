"""Attacks stay in their ball and raise the loss; the smoothed gradient is that of finite differences."""

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from terrablate.config.schema.regularize import Adversarial, Regularize, SmoothInputGradient
from terrablate.training.regularize import Regularization
from terrablate.training.regularize.input_gradients import evaluating, fgsm, pgd, squared_gradient

type Losses = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 3)
    )


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.3, 0.7, 0], [0.5, 0, 0.5]])
"""Soft ones, too, as mixup gives them."""


def losses_of(network: nn.Module) -> Losses:
    return lambda images: F.cross_entropy(network(images), TARGETS, reduction="none")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def section(**changes: object) -> Adversarial:
    return Adversarial(**{"epsilon": 0.1, "steps": 1, "step_size": None, "share": 1.0, **changes})


def test_fgsm_moves_every_value_by_epsilon_up_its_gradient(network: nn.Module, images: torch.Tensor) -> None:
    losses = losses_of(network.eval())
    changed = fgsm(images, losses, 0.05)
    torch.testing.assert_close((changed - images).abs(), torch.full_like(images, 0.05), atol=1e-6, rtol=0)
    step = torch.zeros_like(images)
    step[2, 1, 3, 4] = 1e-2  # by finite differences
    slope = losses(images + step)[2] - losses(images - step)[2]
    assert ((changed - images)[2, 1, 3, 4] * slope).item() > 0
    assert bool((losses(changed) > losses(images)).all())
    assert not changed.requires_grad


@pytest.mark.parametrize("step_size", [0.01, 0.05, 10.0])
def test_pgd_stays_in_its_ball_and_raises_the_loss(network: nn.Module, images: torch.Tensor, step_size: float) -> None:
    losses = losses_of(network.eval())
    changed = pgd(images, losses, 0.1, 5, step_size, generator())
    distance = (changed - images).abs().max().item()
    assert 0.09 < distance <= 0.1 + 1e-6
    if step_size < 1:
        assert bool((losses(changed) > losses(images)).all())


def test_pgd_starts_anywhere_in_the_ball_as_its_generator_says(network: nn.Module, images: torch.Tensor) -> None:
    losses = losses_of(network.eval())
    still = pgd(images, losses, 0.1, 1, 1e-9, generator()) - images
    assert -0.1 <= still.min() < -0.09
    assert 0.1 >= still.max() > 0.09
    assert abs(still.mean().item()) < 0.01
    assert torch.equal(still, pgd(images, losses, 0.1, 1, 1e-9, generator()) - images)


def test_more_steps_raise_the_loss_further(network: nn.Module, images: torch.Tensor) -> None:
    losses = losses_of(network.eval())
    attacks = [fgsm(images, losses, 0.3), pgd(images, losses, 0.3, 20, 0.0375, generator())]
    one, many = (losses(changed).mean().item() for changed in attacks)
    assert many > one


def test_a_ball_of_no_radius_is_the_image_itself(network: nn.Module, images: torch.Tensor) -> None:
    losses = losses_of(network.eval())
    assert torch.equal(fgsm(images, losses, 0.0), images)
    assert torch.equal(pgd(images, losses, 0.0, 3, 0.1, generator()), images)


def test_the_attack_moves_no_statistics_draws_no_dropout_and_leaves_modes_and_gradients(
    network: nn.Sequential, images: torch.Tensor
) -> None:
    network.train()
    network[1].eval()  # as a frozen layer
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    with evaluating(network):
        pgd(images, losses_of(network), 0.1, 3, 0.1, generator())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network] == [True, False, True, True, True, True]
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_adversarial_loss_is_the_mixture_of_both(
    network: nn.Sequential, images: torch.Tensor, steps: int, share: float
) -> None:
    network.eval()
    losses = losses_of(network)
    regularization = Regularization(Regularize(adversarial=section(steps=steps, share=share)), network, (), 1)
    found = regularization.losses(network, losses, images, generator())
    changed = fgsm(images, losses, 0.1) if steps == 1 else pgd(images, losses, 0.1, 3, 2.5 * 0.1 / 3, generator())
    torch.testing.assert_close(found, (1 - share) * losses(images) + share * losses(changed))
    by_hand = ((1 - share) * losses(images) + share * losses(changed)).sum()
    found_slope, slope, plain = (
        torch.autograd.grad(total, network[0].weight)[0] for total in (found.sum(), by_hand, losses(images).sum())
    )
    torch.testing.assert_close(found_slope, slope)
    assert (found_slope - plain).norm() > 0.01 * plain.norm()


def test_the_squared_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(2 * 4, 3)).double()
    images = torch.randn(5, 1, 3, 3, dtype=torch.float64)
    losses: Losses = lambda x: F.cross_entropy(network(x), TARGETS.double(), reduction="none")  # noqa: E731
    given = images.clone().requires_grad_(True)
    found = squared_gradient(given, losses(given))
    expected = torch.zeros(5, dtype=torch.float64)
    for place in range(9):
        step = torch.zeros(9, dtype=torch.float64)
        step[place] = 1e-5
        step = step.view(1, 1, 3, 3)
        expected += ((losses(images + step) - losses(images - step)).detach() / 2e-5) ** 2
    torch.testing.assert_close(found.detach(), expected, rtol=1e-6, atol=1e-12)

    weight = network[0].weight
    (slope,) = torch.autograd.grad(found.sum(), weight, retain_graph=True)

    def at(change: float) -> float:
        with torch.no_grad():
            weight[1, 0, 0, 1] += change
        inside = images.clone().requires_grad_(True)
        value = squared_gradient(inside, losses(inside)).sum().item()
        with torch.no_grad():
            weight[1, 0, 0, 1] -= change
        return value

    assert slope[1, 0, 0, 1].item() == pytest.approx((at(1e-5) - at(-1e-5)) / 2e-5, rel=1e-5)


def test_the_smoothed_loss_adds_the_weighted_square_of_each_image(network: nn.Sequential, images: torch.Tensor) -> None:
    network.eval()
    losses = losses_of(network)
    given = images.clone().requires_grad_(True)
    squares = squared_gradient(given, losses(given))
    regularization = Regularization(Regularize(smooth_input_gradient=SmoothInputGradient(weight=0.3)), network, (), 1)
    torch.testing.assert_close(
        regularization.losses(network, losses, images, generator()), losses(images) + 0.3 * squares
    )


def test_attention_has_a_second_derivative_here() -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    regularization = Regularization(Regularize(smooth_input_gradient=SmoothInputGradient(weight=1.0)), network, (), 1)
    images = torch.randn(5, 3, 32, 32)
    regularization.losses(network, losses_of(network), images, generator()).sum().backward()
    gradient = network.blocks[0].attn.qkv.weight.grad
    assert gradient is not None
    assert bool(gradient.isfinite().all())
    assert gradient.abs().sum() > 0


def test_descending_the_smoothed_loss_flattens_the_loss_around_the_images(
    network: nn.Sequential, images: torch.Tensor
) -> None:
    network.eval()
    regularization = Regularization(Regularize(smooth_input_gradient=SmoothInputGradient(weight=50.0)), network, (), 1)

    def steepness() -> float:
        given = images.clone().requires_grad_(True)
        return squared_gradient(given, losses_of(network)(given)).sum().item()

    before = steepness()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        regularization.losses(network, losses_of(network), images, generator()).mean().backward()
        optimizer.step()
    assert steepness() < before / 2
