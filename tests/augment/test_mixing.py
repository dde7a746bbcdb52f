"""Mixup and CutMix: labels follow the pixels, weights follow their distribution."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from augment_inputs import BANDS, generator, images_of
from terrablate.augment.cutmix import cutmix
from terrablate.augment.draws import beta
from terrablate.augment.mixup import mixup

type Mixing = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def own_label(count: int) -> torch.Tensor:
    """A class for each image, so that the label tells the shares of all of them."""
    return torch.eye(count)


@pytest.mark.parametrize("bands", BANDS)
def test_mixup_is_the_weighted_mean_of_pairs_and_of_their_labels(bands: int) -> None:
    images = images_of(16, bands)
    mixed, shares = mixup(images, own_label(16), generator(), alpha=1.0)
    expected = torch.einsum("nm,mchw->nchw", shares, images)
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    assert ((shares > 0).sum(1) <= 2).all()
    assert not torch.allclose(mixed, images)
    assert len(set(shares.diagonal().tolist())) > 10  # each image has its own weight
    assert images.amin() <= mixed.amin()
    assert mixed.amax() <= images.amax()


@pytest.mark.parametrize("bands", BANDS)
def test_labels_of_cutmix_are_the_shares_of_the_pixels(bands: int) -> None:
    count = 64
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, bands, 20, 20)
    mixed, shares = cutmix(images, own_label(count), generator(), p=1.0)
    assert (mixed == mixed[:, :1]).all()  # all bands alike
    pixels = F.one_hot(mixed[:, 0].long(), count).float().mean((1, 2))
    torch.testing.assert_close(shares, pixels, atol=1e-6, rtol=0)
    assert (shares.diagonal() < 1).sum() > 40


def test_cutmix_pastes_one_rectangle_of_the_images_proportions() -> None:
    images = torch.arange(500).float().view(-1, 1, 1, 1).expand(-1, 1, 30, 60)
    pasted = cutmix(images, own_label(500), generator(), p=1.0)[0] != images
    height, width = pasted.any(3).sum(2).flatten(), pasted.any(2).sum(2).flatten()
    assert torch.equal(pasted.sum((1, 2, 3)), height * width)
    inside = ~(pasted[:, :, 0].any(2) | pasted[:, :, -1].any(2) | pasted[..., 0].any(2) | pasted[..., -1].any(2))
    whole = inside.flatten() & (height > 3)  # not cut off
    assert whole.sum() > 50
    assert (width[whole] - 2 * height[whole]).abs().max() <= 2
    assert pasted.float().mean((0, 1)).min() > 0  # everywhere, corners included


@pytest.mark.parametrize("mixing", [mixup, cutmix])
def test_the_total_of_labels_stays_and_soft_labels_are_mixed_alike(mixing: Mixing) -> None:
    images, soft = images_of(32, 3), torch.rand(32, 5, generator=generator(1)).softmax(1)
    _, shares = mixing(images, own_label(32), generator(2), p=1.0)
    _, labels = mixing(images, soft, generator(2), p=1.0)
    torch.testing.assert_close(labels, shares @ soft)
    torch.testing.assert_close(labels.sum(1), torch.ones(32))


@pytest.mark.parametrize("mixing", [mixup, cutmix])
def test_an_image_alone_is_mixed_with_itself(mixing: Mixing) -> None:
    images, targets = images_of(1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    mixed, labels = mixing(images, targets, generator(), p=1.0)
    assert torch.equal(mixed, images)
    assert torch.equal(labels, targets)


@pytest.mark.parametrize("mixing", [mixup, cutmix])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_the_probability_of_mixing_turns_and_what_is_not_mixed_stays_exactly(mixing: Mixing, p: float) -> None:
    images = images_of(1000, 1, side=16)
    mixed, shares = mixing(images, own_label(1000), generator(), alpha=1.0, p=p)
    same = shares.diagonal() == 1
    assert same.float().mean().item() == pytest.approx(1 - p, abs=0.05 * (p > 0))
    assert torch.equal(mixed[same], images[same])


@pytest.mark.parametrize("mixing", [mixup, cutmix])
def test_partners_are_a_permutation(mixing: Mixing) -> None:
    """Each image lends itself once, so the classes of a batch keep their shares."""
    _, shares = mixing(images_of(200, 1, side=16), own_label(200), generator(), p=1.0)
    others = shares - shares.diagonal().diag()
    assert ((others > 0).sum(0) <= 1).all()


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 5.0])
def test_weights_are_beta_distributed(alpha: float) -> None:
    draws = beta(torch.empty(20000), generator(), alpha)
    assert ((draws >= 0) & (draws <= 1)).all()
    assert draws.mean().item() == pytest.approx(0.5, abs=0.015)
    assert draws.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.04)
    expected = torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha))
    torch.manual_seed(0)
    theirs = expected.sample((20000,)).sort().values
    assert (draws.sort().values - theirs).abs().mean() < 0.01


def test_weights_of_a_tiny_alpha_are_0_or_1() -> None:
    """Gamma draws underflow there; their ratio must not."""
    draws = beta(torch.empty(1000), generator(1), 1e-6)
    assert ((draws < 1e-3) | (draws > 1 - 1e-3)).all()
    assert draws.mean().item() == pytest.approx(0.5, abs=0.06)


def test_alpha_turns() -> None:
    images = images_of(500, 1)
    little, much = (mixup(images, own_label(500), generator(), alpha)[1].diagonal() for alpha in (0.1, 10.0))
    assert (little - 0.5).abs().mean() > 0.4
    assert (much - 0.5).abs().mean() < 0.2
