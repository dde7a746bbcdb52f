"""Pruning in training: an optimizer, an average and anchors that go on with the channels that are left; refusals."""

import copy
import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from pruned import cuts_at
from terrablate.config import Config
from terrablate.config.schema.regularize import EMA, Prune
from terrablate.errors import ConfigError
from terrablate.models.finetune import Finetuning, RateGroup
from terrablate.models.networks import MLP, SmallCNN
from terrablate.models.norm import apply_norm
from terrablate.models.pruning import channel_counts, cut_channels
from terrablate.training.optimizers import make_optimizer
from terrablate.training.regularize import Regularization
from terrablate.training.regularize.averaging import Averaging
from terrablate.training.regularize.prune import Pruning, cut_optimizer
from terrablate.training.sam import SAM

type Compose = Callable[..., Config]

SHAPE = (3, 16, 16)
IMAGES = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 5


@pytest.fixture
def network(compose: Compose) -> nn.Module:
    torch.manual_seed(0)
    network = SmallCNN(3, 5, 8, "before")
    apply_norm(network, compose("norm=batch").norm)
    return network


def section(**changes: object) -> Prune:
    values = {"amount": 0.5, "start": 0.2, "end": 0.6, "rounds": 2, "importance": "l2", "scope": "uniform"}
    return Prune(**{**values, **changes})


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(IMAGES), LABELS)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


def optimizer_of(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    return make_optimizer(Finetuning(network, config.finetune, config.norm).rate_groups(), config.optim)


def pruned_with(network: nn.Module, optimizer: torch.optim.Optimizer, share: float = 0.5) -> dict[str, torch.Tensor]:
    before = dict(network.named_parameters())
    kept = cut_channels(network, cuts_at(network, SHAPE, share))
    cut_optimizer(optimizer, before, network, kept)
    return kept


# --- optimizers

OPTIMIZERS = [
    ["optim=adamw"],
    ["optim=momentum"],
    ["optim=rmsprop"],
    ["optim=sam"],
    ["optim=sam_adamw"],
    ["optim=timm", "optim.timm_name=lookahead_adamw"],
    ["optim=timm", "optim.timm_name=lamb"],
]


@pytest.mark.parametrize("given", OPTIMIZERS, ids=lambda given: given[-1])
def test_state_goes_on_for_what_is_left(network: nn.Module, compose: Compose, given: Sequence[str]) -> None:
    optimizer = optimizer_of(network, compose(*given, "norm=batch"))
    train(network, optimizer, 7)  # more than Lookahead waits for
    inner = getattr(optimizer, "base", getattr(optimizer, "_base_optimizer", optimizer))
    before = {name: dict(inner.state[value]) for name, value in network.named_parameters()}
    kept = pruned_with(network, optimizer)
    assert len(inner.state) == len(before)
    for name, value in network.named_parameters():
        for key, old in before[name].items():
            new = inner.state[value][key]
            if isinstance(old, torch.Tensor) and old.ndim:
                assert torch.equal(new.flatten(), old.flatten()[kept[name]] if name in kept else old.flatten())
                assert new.shape == value.shape
            else:
                assert new == old
    weights = [value.detach().clone() for value in network.parameters()]
    train(network, optimizer, 2)
    assert all(not torch.equal(one, two) for one, two in zip(weights, network.parameters(), strict=True))
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(map(id, network.parameters()))


def test_parameters_stay_in_the_groups_of_their_rates_and_decay(network: nn.Module, compose: Compose) -> None:
    optimizer = optimizer_of(network, compose("finetune=discriminative", "norm=batch", "optim.weight_decay=0.1"))

    def settings() -> dict[str, tuple[str, float, float]]:
        names = {parameter: name for name, parameter in network.named_parameters()}
        return {
            names[parameter]: (group["name"], group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    before = settings()
    assert len({lr for _, lr, _ in before.values()}) > 3
    pruned_with(network, optimizer)
    assert settings() == before


def test_a_schedule_goes_on_unbroken(network: nn.Module, compose: Compose) -> None:
    optimizer = optimizer_of(network, compose("norm=batch", "optim=sgd"))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    rates = []
    for step in range(4):
        train(network, optimizer, 1)
        rates.append(optimizer.param_groups[0]["lr"])
        if step == 1:
            pruned_with(network, optimizer)
        schedule.step()
    assert rates == [rates[0] * 0.5**step for step in range(4)]


def test_a_factored_state_starts_afresh(compose: Compose) -> None:
    network = SmallCNN(3, 5, 32, "before")
    optimizer = optimizer_of(network, compose("optim=timm", "optim.timm_name=adafactor"))
    train(network, optimizer, 2)
    pruned_with(network, optimizer)
    assert network.features.block2.conv.weight not in optimizer.state
    train(network, optimizer, 2)
    assert optimizer.state[network.features.block2.conv.weight]["step"] == 2


def test_momentum_of_channels_that_never_moved_is_that_of_a_network_without_them(compose: Compose) -> None:
    """Training, then removing dead units, is training without them: the state is cut where it stands."""
    torch.manual_seed(0)
    wide = MLP(3, 5, 16, [12, 6], "relu")
    with torch.no_grad():
        for layer, reader in itertools.pairwise([wide.head.dense1, wide.head.dense2, wide.head.dense3]):
            layer.weight[::2] = 0
            layer.bias[::2] = 0
            reader.weight[:, ::2] = 0
    narrow = copy.deepcopy(wide)
    cuts = cuts_at(wide, SHAPE, 0.5)
    assert {tuple(channels) for _, side, channels in cuts if side == "out"} == {(0, 2, 4, 6, 8, 10), (0, 2, 4)}
    cut_channels(narrow, cuts)
    config = compose("optim=momentum", "optim.lr=0.05")
    one, two = (optimizer_of(network, config) for network in (wide, narrow))
    train(wide, one, 3)
    train(narrow, two, 6)
    before = dict(wide.named_parameters())
    cut_optimizer(one, before, wide, cut_channels(wide, cuts))
    train(wide, one, 3)
    for first, second in zip(wide.parameters(), narrow.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_sam_steps_as_its_base_after_a_cut_at_radius_zero(network: nn.Module) -> None:
    other = copy.deepcopy(network)
    plain = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    sam = SAM(torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9), rho=0.0)
    for each, optimizer in ((network, plain), (other, sam)):
        train(each.eval(), optimizer, 2)
        pruned_with(each, optimizer)
        train(each, optimizer, 2)
    assert all(torch.equal(one, two) for one, two in zip(network.parameters(), other.parameters(), strict=True))


# --- what else follows


def test_an_average_loses_the_same_channels_and_goes_on(network: nn.Module) -> None:
    averaging = Averaging(network, EMA(decay=0.9))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        train(network, optimizer, 1)
        averaging.after_step(network)
    whole = copy.deepcopy(averaging.network)
    cuts = cuts_at(network, SHAPE, 0.5)
    kept = cut_channels(network, cuts)
    averaging.cut(cuts)
    assert averaging.network is not None
    for name, value in averaging.network.named_parameters():
        assert torch.equal(value.flatten(), whole.get_parameter(name).flatten()[kept[name]] if name in kept else value)
        assert not value.requires_grad
    averaging.after_step(network)
    assert averaging.network.features.block1.norm.running_mean.shape == (4,)


def test_anchors_of_l2_sp_lose_the_same_channels(network: nn.Module, compose: Compose) -> None:
    chosen = compose(
        "regularize=l2_sp", "weights=torchgeo", "weights.weight=ResNet18_Weights.SENTINEL2_ALL_MOCO", "model=resnet18"
    ).regularize
    names = [name for name, _ in network.named_parameters()]
    regularization = Regularization(chosen, network, names, 10)
    assert float(regularization.penalty(network)) == 0
    cuts = cuts_at(network, SHAPE, 0.5)
    regularization.cut(network, cuts, cut_channels(network, cuts))
    assert float(regularization.penalty(network)) == 0
    with torch.no_grad():
        network.features.block2.conv.weight += 2
    expected = 0.01 / 2 * 4 * network.features.block2.conv.weight.numel()
    assert float(regularization.penalty(network)) == pytest.approx(expected)


def test_fine_tuning_goes_on_freezing_by_name(network: nn.Module, compose: Compose) -> None:
    config = compose("finetune=gradual", "norm=batch")
    finetuning = Finetuning(network, config.finetune, config.norm)
    groups = len(finetuning.rate_groups()[0].parameters)
    finetuning.begin_epoch(1, is_distributed=False)
    trained = {name: value.requires_grad for name, value in network.named_parameters()}
    assert len(set(trained.values())) == 2
    cut_channels(network, cuts_at(network, SHAPE, 0.5))
    assert {name: value.requires_grad for name, value in network.named_parameters()} == trained
    finetuning.begin_epoch(99, is_distributed=False)
    assert all(value.requires_grad for value in network.parameters())
    assert len(finetuning.rate_groups()[0].parameters) == groups


# --- when, and what is reported


def test_channels_go_at_the_ends_of_the_epochs_of_the_schedule_only(network: nn.Module) -> None:
    pruning = Pruning(section(), network, SHAPE, epochs=10, seed=0)
    before, counts = channel_counts(network), []
    for epoch in range(1, 11):
        cut_channels(network, pruning.cuts(network, epoch))
        counts.append(network.features.block4.conv.out_channels)
    assert counts == [64, 48, 48, 48, 48, 32, 32, 32, 32, 32]
    report = pruning.report(network, epochs=10)
    assert report["events"] == [2, 6]
    assert report["channels"]["features.block4.conv"] == {"before": 64, "after": 32, "share": 0.5}
    assert report["channels"]["head.dense"] == {"before": 5, "after": 5, "share": 1.0}
    assert list(report["channels"]) == list(before)
    assert report["parameters"]["after"] == sum(value.numel() for value in network.parameters())
    assert 0.2 < report["parameters"]["after"] / report["parameters"]["before"] < 0.3
    assert 0.2 < report["macs"]["after"] / report["macs"]["before"] < 0.4
    assert pruning.report(network, epochs=6)["events"] == [2]  # a run that stopped at the sixth went without it


def test_a_rehearsal_leaves_the_network_and_the_random_stream_alone(network: nn.Module) -> None:
    before, stream = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    network.features.block1.requires_grad_(False)
    Pruning(section(), network, SHAPE, epochs=10, seed=0).rehearse(network, "small_cnn")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert network.training
    assert [p.requires_grad for p in network.features.block1.parameters()] == [False] * 4
    assert all(parameter.grad is None for parameter in network.parameters())


class Shuffling(nn.Module):
    """All of whose channels are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shuffle, self.head = nn.Conv2d(3, 8, 3), nn.ChannelShuffle(2), nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.shuffle(self.conv(images)).mean((2, 3)))


class Attributed(nn.Module):
    """That computes with a number of channels of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(images).reshape(len(images), 8, -1).mean(-1))


def test_a_network_without_channels_that_can_go_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^regularize=prune: no channels of model=tied can go at amount=0\.5: "):
        Pruning(section(), Shuffling(), SHAPE, epochs=10, seed=0).rehearse(Shuffling(), "tied")


def test_a_network_that_does_not_survive_it_is_refused_before_it_trains() -> None:
    network = Attributed()
    with pytest.raises(ConfigError, match=r"^regularize=prune: model=fixed cannot be pruned: ") as refused:
        Pruning(section(), network, SHAPE, epochs=10, seed=0).rehearse(network, "fixed")
    assert "\n" not in str(refused.value)


def test_groups_of_rates_can_be_any(network: nn.Module, compose: Compose) -> None:
    """Parameters that no group has, because they never train, are cut all the same."""
    network.features.block1.requires_grad_(False)
    trained = [value for value in network.parameters() if value.requires_grad]
    optimizer = make_optimizer([RateGroup("rest", trained, 1.0)], compose().optim)
    train(network, optimizer, 1)
    pruned_with(network, optimizer)
    train(network, optimizer, 1)
    assert network.features.block1.conv.out_channels == 4
