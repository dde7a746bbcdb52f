"""Every kind of network in `conf/model`: the channels that can go leave no trace behind, and all others stay."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pruned import cuts_at, unread, vary
from quick_weights import quick_weights
from terrablate.config import Config
from terrablate.config.choices import choices
from terrablate.config.schema.regularize import Prune
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.heads import classifiers
from terrablate.models.pruning import channel_counts, cost, cut_channels
from terrablate.models.sizes import takes
from terrablate.training.regularize.prune import Pruning

BANDS, CLASSES = 4, 3
LIKE_OTHERS = ("resnet34", "resnet101", "resnet152", "wide_resnet50", "resnet56", "vgg11")
"""Deeper or wider versions of networks that are tried: they would take as long as all others together."""
NETWORKS = [choice.name for choice in choices("model") if choice.name not in LIKE_OTHERS]
REFUSED = ("torchvision",)
"""By default ShuffleNet, whose channels change places."""
SECTION = Prune(amount=0.3, start=0.5, end=0.5, rounds=1, importance="l2", scope="uniform")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_channels_that_nothing_reads_leave_without_a_trace(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    quick_weights(monkeypatch)
    config = compose(f"model={name}", "data.image_size=224")
    size = next(size for size in (64, 67, 75, 224) if takes(config.model, BANDS, CLASSES, size))
    config = compose(f"model={name}", f"data.image_size={size}")
    network = vary(build(config, BANDS, CLASSES, size).network)
    if name in REFUSED:
        with pytest.raises(ConfigError, match=f"^regularize=prune: model={name} cannot be pruned: its channels cannot"):
            Pruning(SECTION, network, (BANDS, size, size), epochs=10, seed=0).rehearse(network, name)
        return
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    read = first.weight.shape[1]
    before, shape = channel_counts(network), (BANDS, size, size)
    whole = cost(network, shape)
    cuts = cuts_at(network, shape, 0.3)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = unread(network, cuts)(images)
    cut_channels(network, cuts)
    with torch.no_grad():
        given = network(images)
    assert float(expected.std()) > 0
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    after, less = channel_counts(network), cost(network, shape)
    assert less.parameters < whole.parameters
    assert less.macs < whole.macs
    gone = {layer: 1 - after[layer] / before[layer] for layer in before if after[layer] < before[layer]}
    assert gone
    assert all(0 < share <= 0.51 for share in gone.values()), gone  # of 32 groups of 4 or 2, one or none
    assert first.weight.shape[1] == read
    for head in classifiers(network):
        assert getattr(head, "out_features", None) == CLASSES or getattr(head, "out_channels", None) == CLASSES
    network.train()
    network(images).sum().backward()
    print(name, f"{less.parameters / whole.parameters:.2f} {less.macs / whole.macs:.2f} {len(gone)} of {len(before)}")  # noqa: T201
