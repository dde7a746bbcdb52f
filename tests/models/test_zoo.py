"""Every network of `conf/model` with every norm, dropout and fine-tuning: it trains and is loaded, or is refused."""

import io
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import nn

from quick_weights import quick_weights
from terrablate.config import Config
from terrablate.config.choices import choices
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.finetune import Finetuning
from terrablate.models.sizes import takes
from terrablate.training.optimizers import make_optimizer

type Compose = Callable[..., Config]

BANDS, CLASSES = 4, 3
NETWORKS = [choice.name for choice in choices("model")]
OTHERS = {
    group: [choice.name for choice in choices(group) if choice.name not in ("native", "full", "frozen_features")]
    for group in ("norm", "dropout", "finetune")
}
"""All choices that change a network that trains; the neutral ones run in the registry's test."""

WORKS_ANYWHERE = {"norm": ["group", "batch", "none"], "dropout": ["head", "none"], "finetune": OTHERS["finetune"]}
"""Choices that no network of the large ones refuses."""
MAY_DIVERGE = ("none",)
"""Deep residual networks whose normalisation is taken away explode within a step: that is what `norm=none` shows."""

LARGE = (
    "alexnet", "alexnet_torchvision", "convnext_tiny", "inception_v3", "resnet34", "resnet50", "resnet56", "resnet101",
    "resnet152", "resnext50", "swin_tiny", "vgg11", "vgg16", "wide_resnet50",
)  # fmt: skip
"""Each takes one choice of a group in turn, and no family is without a small member that takes them all."""


def tried(name: str, group: str) -> list[str]:
    """The choices that a network is tried with."""
    if name not in LARGE:
        return OTHERS[group]
    ways = WORKS_ANYWHERE[group]
    return [ways[LARGE.index(name) % len(ways)]]


def smallest(config: Config) -> int:
    """A size at which no feature map shrinks to one pixel, which instance normalisation could not take."""
    return next(size for size in (64, 67, 75, 224) if takes(config.model, BANDS, CLASSES, size))


def two_steps(network: nn.Module, config: Config, images: torch.Tensor) -> Finetuning:
    finetuning = Finetuning(network, config.finetune, config.norm)
    optimizer = make_optimizer(finetuning.rate_groups(), config.optim)
    finetuning.begin_epoch(0, is_distributed=False)
    network.train()
    finetuning.hold()
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(network(images), torch.arange(len(images)) % CLASSES).backward()
        optimizer.step()
    return finetuning


def reloaded(network: nn.Module, config: Config, size: int) -> nn.Module:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    fresh = build(config, BANDS, CLASSES, size).network
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh.eval()


@pytest.mark.slow
@pytest.mark.parametrize("group", OTHERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_with_every_choice_or_the_choice_is_refused(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, name: str, group: str
) -> None:
    quick_weights(monkeypatch)
    size = smallest(compose(f"model={name}", "data.image_size=224"))
    refused = []
    for choice in tried(name, group):
        config = compose(f"model={name}", f"{group}={choice}", f"data.image_size={size}", "optim=sgd", "optim.lr=0.001")
        try:
            network = build(config, BANDS, CLASSES, size).network
        except ConfigError as error:
            refused.append(str(error))
            continue
        before = {key: value.clone() for key, value in network.state_dict().items()}
        images = torch.rand(2, BANDS, size, size, generator=torch.Generator().manual_seed(0))
        two_steps(network, config, images)
        network.eval()
        assert any(not torch.equal(value, before[key]) for key, value in network.state_dict().items()), choice
        with torch.inference_mode():
            logits = network(images)
            if choice not in MAY_DIVERGE:
                assert torch.isfinite(logits).all(), choice
            again = reloaded(network, config, size)(images)
        torch.testing.assert_close(
            again, logits, atol=1e-5, rtol=1e-4, equal_nan=True, msg=lambda text, tried=choice: f"{tried}: {text}"
        )
    assert len(refused) < len(tried(name, group)), refused
    assert all(error.startswith((f"{group}=", "model=")) for error in refused), refused
