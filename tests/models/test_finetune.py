"""What trains when: frozen stages stay as they are to the bit, thaw at their epoch, and learn at their rate."""

import logging
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from terrablate.config import Config
from terrablate.config.schema import (
    DiscriminativeFinetune,
    Finetune,
    FrozenFeatures,
    FullFinetune,
    GradualFinetune,
    HeadFinetune,
    NativeNorm,
)
from terrablate.errors import ConfigError
from terrablate.models.build import build
from terrablate.models.finetune import Finetuning, first_trained, rate
from terrablate.training.optimizers import make_optimizer

type Compose = Callable[..., Config]

FULL = FullFinetune()
HEAD = HeadFinetune(name="head", rule="head")
GRADUAL = GradualFinetune(name="gradual", rule="gradual", epochs_per_stage=2)
DISCRIMINATIVE = DiscriminativeFinetune(name="discriminative", rule="discriminative", factor=0.5)
FROZEN = FrozenFeatures(name="frozen_features", rule="frozen_features", classifier="logistic")

NETWORKS = [
    "model=resnet18", "model=squeezenet1_0", "model=small_cnn norm=batch", "model=lenet", "model=resnet20",
    "model=timm model.timm_name=convnext_atto", "model=timm model.timm_name=test_vit",
]  # fmt: skip


def built(compose: Compose, overrides: str, *more: str) -> tuple[nn.Module, Config]:
    config = compose(*overrides.split(" "), *more, "data.image_size=32")
    return build(config, 3, 5, 32).network, config


def whole(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def train(network: nn.Module, finetuning: Finetuning, config: Config, epochs: range, steps: int = 2) -> None:
    """Epochs as the Classifier has them, on noise."""
    optimizer = make_optimizer(finetuning.rate_groups(), config.optim)
    generator = torch.Generator().manual_seed(0)
    for epoch in epochs:
        finetuning.begin_epoch(epoch, is_distributed=False)
        network.train()
        finetuning.hold()
        for _ in range(steps):
            images = torch.randn(4, 3, 32, 32, generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
            finetuning.drop_gradients()
            optimizer.step()


def changed(network: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


# --- the plan


@pytest.mark.parametrize(
    ("finetune", "expected"),
    [
        (FULL, [0, 0, 0, 0, 0, 0, 0]),
        (DISCRIMINATIVE, [0, 0, 0, 0, 0, 0, 0]),
        (HEAD, [3, 3, 3, 3, 3, 3, 3]),
        (GRADUAL, [3, 3, 2, 2, 1, 1, 0]),
        (FROZEN, [4, 4, 4, 4, 4, 4, 4]),
    ],
)
def test_which_stages_train_is_a_function_of_the_epoch(finetune: Finetune, expected: list[int]) -> None:
    assert [first_trained(finetune, 4, epoch) for epoch in range(7)] == expected
    assert first_trained(finetune, 4, 1000) == expected[-1]


def test_the_rate_falls_by_the_factor_from_stage_to_stage() -> None:
    assert [rate(DISCRIMINATIVE, depth) for depth in range(4)] == [1.0, 0.5, 0.25, 0.125]
    assert {rate(finetune, 3) for finetune in (FULL, HEAD, GRADUAL)} == {1.0}


# --- what it does to a network


@pytest.mark.parametrize("overrides", NETWORKS)
def test_under_head_the_backbone_has_no_gradient_and_stays_to_the_bit(compose: Compose, overrides: str) -> None:
    network, config = built(compose, overrides, "finetune=head", "optim.weight_decay=0.1", "optim.lr=0.1")
    finetuning = Finetuning(network, config.finetune, config.norm)
    head = set(finetuning.stages[-1].parameters)
    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == head
    before = whole(network)
    train(network, finetuning, config, range(2))
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == head
    assert changed(network, before) == head  # no running statistics either
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    in_optimizer = {named[id(parameter)] for group in finetuning.rate_groups() for parameter in group.parameters}
    assert in_optimizer == head


@pytest.mark.parametrize("overrides", NETWORKS)
def test_under_gradual_stages_thaw_one_after_another(compose: Compose, overrides: str) -> None:
    more = ("finetune=gradual", "finetune.epochs_per_stage=1", "optim.weight_decay=0.1", "optim.lr=0.01")
    network, config = built(compose, overrides, *more)
    finetuning = Finetuning(network, config.finetune, config.norm)
    count = len(finetuning.stages)
    parameters = {name for name, _ in network.named_parameters()}
    grouped = [parameter for group in finetuning.rate_groups() for parameter in group.parameters]
    assert len(grouped) == len(parameters)  # all are in the optimizer from the start
    optimizer = make_optimizer(finetuning.rate_groups(), config.optim)
    for epoch in range(count + 1):
        before = whole(network)
        finetuning.begin_epoch(epoch, is_distributed=False)
        network.train()
        finetuning.hold()
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(epoch))
        optimizer.zero_grad()
        F.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
        thawed = {name for stage in finetuning.stages[max(0, count - 1 - epoch) :] for name in stage.parameters}
        moved = changed(network, before)
        assert moved & parameters <= thawed
        assert all(set(stage.parameters) & moved for stage in finetuning.stages[max(0, count - 1 - epoch) :])
        owners = {name.rpartition(".")[0] for name in moved - parameters}  # running statistics
        assert all(f"{owner}.weight" in thawed for owner in owners)
        with_gradient = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        assert with_gradient <= thawed
    assert thawed == parameters


def test_several_devices_keep_gradients_that_are_dropped_before_the_step(compose: Compose) -> None:
    """DistributedDataParallel reads `requires_grad` only when it is built."""
    network, config = built(compose, "model=small_cnn norm=batch", "optim.lr=0.1", "finetune=gradual")
    finetuning = Finetuning(network, GRADUAL, config.norm)
    finetuning.begin_epoch(3, is_distributed=True)
    network.train()
    finetuning.hold()
    assert all(parameter.requires_grad for parameter in network.parameters())
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    finetuning.drop_gradients()
    thawed = {name for stage in finetuning.stages[-2:] for name in stage.parameters}
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == thawed


@pytest.mark.parametrize("overrides", NETWORKS)
def test_frozen_stages_are_in_eval_mode_and_the_others_in_train_mode(compose: Compose, overrides: str) -> None:
    network, config = built(compose, overrides)
    finetuning = Finetuning(network, GRADUAL, config.norm)
    finetuning.begin_epoch(2, is_distributed=False)
    network.train()
    finetuning.hold()
    modes = {name: module.training for name, module in network.named_modules()}
    for stage in finetuning.stages:
        assert {modes[name] for name in stage.modules} == {stage in finetuning.stages[-2:]}


def test_dropout_acts_in_the_head_and_not_in_what_is_frozen(compose: Compose) -> None:
    network, config = built(compose, "model=lenet", "dropout=head", "finetune=head")
    finetuning = Finetuning(network, config.finetune, config.norm)
    network.train()
    finetuning.hold()
    before_head = network.get_submodule("head.dense1")
    seen: list[torch.Tensor] = []
    before_head.register_forward_hook(lambda *given: seen.append(given[2]))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(images), network(images))
    assert torch.equal(*seen)


def test_held_statistics_stay_while_everything_trains(compose: Compose) -> None:
    network, config = built(compose, "model=resnet20")
    before = whole(network)
    train(network, Finetuning(network, config.finetune, NativeNorm(name="native", frozen=True)), config, range(1))
    moved = changed(network, before)
    assert {name for name, _ in network.named_parameters()} <= moved
    assert not [name for name in moved if "running" in name or "tracked" in name]


def test_without_frozen_statistics_they_move(compose: Compose) -> None:
    network, config = built(compose, "model=resnet20")
    before = whole(network)
    train(network, Finetuning(network, config.finetune, config.norm), config, range(1))
    assert [name for name in changed(network, before) if "running_mean" in name]


def test_parameters_that_never_trained_are_not_thawed(compose: Compose) -> None:
    """Some transformers have position embeddings of fixed sines."""
    network, config = built(compose, "model=small_cnn")
    fixed = network.get_parameter("features.block3.conv.weight").requires_grad_(False)
    finetuning = Finetuning(network, GRADUAL, config.norm)
    finetuning.begin_epoch(100, is_distributed=False)
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["features.block3.conv.weight"]
    assert all(fixed is not parameter for group in finetuning.rate_groups() for parameter in group.parameters)
    assert finetuning.trainable_parameters(100) == sum(p.numel() for p in network.parameters()) - fixed.numel()


@pytest.mark.parametrize("finetune", [HEAD, GRADUAL, DISCRIMINATIVE])
def test_a_rule_that_cannot_act_is_refused(compose: Compose, finetune: Finetune) -> None:
    only_head, norm = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), compose().norm
    with pytest.raises(ConfigError) as refused:
        Finetuning(only_head, finetune, norm)
    assert str(refused.value) == f"finetune={finetune.name}: the network has nothing before its head; use finetune=full"
    Finetuning(only_head, FULL, norm)
    Finetuning(only_head, FROZEN, norm)


# --- rates


@pytest.mark.parametrize("overrides", NETWORKS)
def test_discriminative_gives_each_stage_its_rate_from_the_head_on(compose: Compose, overrides: str) -> None:
    network, config = built(compose, overrides)
    finetuning = Finetuning(network, DISCRIMINATIVE, config.norm)
    groups = finetuning.rate_groups()
    assert [group.name for group in groups] == [stage.name for stage in reversed(finetuning.stages)]
    assert [group.rate for group in groups] == [0.5**depth for depth in range(len(finetuning.stages))]
    for group, stage in zip(groups, reversed(finetuning.stages), strict=True):
        assert {id(p) for p in group.parameters} == {id(network.get_parameter(name)) for name in stage.parameters}


@pytest.mark.parametrize("overrides", ["model=resnet20", "model=timm model.timm_name=test_vit"])
@pytest.mark.parametrize("optim", ["optim=adamw", "optim=sgd"])
def test_full_trains_to_the_bit_like_two_plain_groups(compose: Compose, overrides: str, optim: str) -> None:
    network, config = built(compose, overrides, optim, "optim.weight_decay=0.1")
    train(network, Finetuning(network, config.finetune, config.norm), config, range(2))
    plain, _ = built(compose, overrides)
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in plain.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    lr = config.optim.lr
    optimizer = (
        torch.optim.AdamW(groups, lr=lr, betas=tuple(config.optim.betas), fused=True)
        if config.optim.optimizer == "adamw"
        else torch.optim.SGD(groups, lr=lr, momentum=config.optim.momentum, nesterov=config.optim.nesterov)
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        images = torch.randn(4, 3, 32, 32, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(plain.train()(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    assert not changed(network, whole(plain))


# --- what is said and recorded


def test_a_budget_that_ends_before_all_stages_train_is_told(compose: Compose, caplog: pytest.LogCaptureFixture) -> None:
    network, config = built(compose, "model=resnet20")
    finetuning = Finetuning(network, GRADUAL, config.norm)
    with caplog.at_level(logging.WARNING):
        finetuning.warn_of_budget(9)
        assert not caplog.messages
        finetuning.warn_of_budget(8)
        finetuning.warn_of_budget(4)
    assert caplog.messages == [
        "finetune=gradual: 8 epochs end before the first of 5 stages train; all do with epochs=9 or "
        "finetune.epochs_per_stage=1",
        "finetune=gradual: 4 epochs end before the first 3 of 5 stages train; all do with epochs=9",
    ]
    Finetuning(network, HEAD, config.norm).warn_of_budget(1)
    assert len(caplog.messages) == 2


def test_the_report_says_when_each_stage_began_to_train(compose: Compose) -> None:
    network, config = built(compose, "model=lenet")
    gradual = Finetuning(network, GRADUAL, config.norm)
    assert [stage["trained_from_epoch"] for stage in gradual.report(6)] == [None, 5, 3, 1]
    assert sum(stage["parameters"] for stage in gradual.report(6)) == sum(p.numel() for p in network.parameters())
    assert gradual.trainable_parameters(1) == gradual.report(6)[-1]["parameters"]
    assert gradual.trainable_parameters(2) == sum(stage["parameters"] for stage in gradual.report(6)[-2:])
    slowed = Finetuning(network, DISCRIMINATIVE, config.norm)
    assert [stage["rate"] for stage in slowed.report(1)] == [0.125, 0.25, 0.5, 1.0]
    frozen = Finetuning(network, FROZEN, config.norm)
    assert {stage["trained_from_epoch"] for stage in frozen.report(1)} == {None}
    assert frozen.trainable_parameters(0) == 0
