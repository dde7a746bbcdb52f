"""SAM: its two steps by hand, one loss in both passes, running statistics, checkpoints, Lightning's closures."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from terrablate.training.sam import SAM, kept_buffers

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")

CURVATURE = torch.tensor([[1.0, 4.0]])
START = torch.tensor([[3.0, 1.0]])


def quadratic(weight: nn.Parameter, optimizer: torch.optim.Optimizer) -> Callable[[], torch.Tensor]:
    """Half the sum of h w^2, with the gradient h w; every call notes where it was made."""

    def compute() -> torch.Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (CURVATURE * weight.reshape(1, 2).square()).sum()
        loss.backward()
        return loss

    return compute


# --- the two steps


def test_the_two_steps_by_hand() -> None:
    """The gradient (3, 4) has length 5, so rho 0.5 climbs by (0.3, 0.4), where the gradient is (3.3, 5.6)."""
    weight = nn.Parameter(START.clone())
    sam = SAM(torch.optim.SGD([weight], lr=0.1), rho=0.5)
    loss = sam.step(quadratic(weight, sam))
    torch.testing.assert_close(weight.detach(), torch.tensor([[3 - 0.33, 1 - 0.56]]))
    assert loss.item() == pytest.approx(0.5 * (9 + 4))  # at the weights themselves, not at the point above


def test_the_radius_spans_all_groups_together() -> None:
    parts = [nn.Parameter(START[:, :1].clone()), nn.Parameter(START[:, 1:].clone())]
    sam = SAM(torch.optim.SGD([{"params": [part]} for part in parts], lr=0.1), rho=0.5)

    def compute() -> torch.Tensor:
        sam.zero_grad()
        loss = 0.5 * (CURVATURE * torch.cat(parts, dim=1).square()).sum()
        loss.backward()
        return loss

    sam.step(compute)
    torch.testing.assert_close(torch.cat(parts, dim=1).detach(), torch.tensor([[3 - 0.33, 1 - 0.56]]))


def test_the_adaptive_step_by_hand() -> None:
    weight = nn.Parameter(START.clone())
    sam = SAM(torch.optim.SGD([weight], lr=0.1), rho=0.5, adaptive=True)
    sam.step(quadratic(weight, sam))
    scale, gradient = torch.tensor([[3.01, 1.01]]), torch.tensor([[3.0, 4.0]])
    offset = 0.5 * scale**2 * gradient / (scale * gradient).norm()
    torch.testing.assert_close(weight.detach(), START - 0.1 * CURVATURE * (START + offset))


def test_the_adaptive_step_measures_biases_as_they_are() -> None:
    results = []
    for adaptive in (False, True):
        bias = nn.Parameter(START[0].clone())
        sam = SAM(torch.optim.SGD([bias], lr=0.1), rho=0.5, adaptive=adaptive)
        sam.step(quadratic(bias, sam))
        results.append(bias.detach())
    assert torch.equal(*results)


def test_the_weights_are_put_back_to_the_bit_before_the_step() -> None:
    weight = nn.Parameter(START / 3)
    sam = SAM(torch.optim.SGD([weight], lr=0.0), rho=0.7)
    for _ in range(5):
        sam.step(quadratic(weight, sam))
    assert torch.equal(weight, START / 3)


def test_the_weights_are_put_back_when_the_second_pass_fails() -> None:
    weight = nn.Parameter(START.clone())
    sam = SAM(torch.optim.SGD([weight], lr=0.1), rho=0.5)
    sam.second_pass = failing
    with pytest.raises(KeyboardInterrupt):
        sam.step(quadratic(weight, sam))
    assert torch.equal(weight, START)


@contextmanager
def failing() -> Iterator[None]:
    raise KeyboardInterrupt
    yield


def test_a_gradient_of_zero_moves_nothing() -> None:
    weight = nn.Parameter(torch.zeros(1, 2))
    sam = SAM(torch.optim.SGD([weight], lr=0.1), rho=0.5)
    sam.step(quadratic(weight, sam))
    assert weight.tolist() == [[0, 0]]


def test_frozen_and_unused_parameters_stay() -> None:
    frozen, unused = nn.Parameter(torch.ones(2), requires_grad=False), nn.Parameter(torch.ones(2))
    weight = nn.Parameter(START.clone())
    sam = SAM(torch.optim.SGD([weight, frozen, unused], lr=0.1, weight_decay=0.1), rho=0.5)
    sam.step(quadratic(weight, sam))
    assert torch.equal(frozen, torch.ones(2))
    assert torch.equal(unused, torch.ones(2))


def test_without_a_closure_it_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="SAM computes the loss twice a step, so it needs a closure"):
        SAM(torch.optim.SGD([nn.Parameter(START.clone())], lr=0.1), rho=0.5).step()


# --- groups and state are the base's


def test_schedules_reach_the_base() -> None:
    weight = nn.Parameter(START.clone())
    sam = SAM(torch.optim.SGD([weight], lr=0.1), rho=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(sam, lambda step: 0.5**step)
    for rate in (0.1, 0.05):
        before = weight.detach().clone()
        sam.step(quadratic(weight, sam))
        schedule.step()
        torch.testing.assert_close(weight.detach(), before - rate * CURVATURE * before)


def test_groups_may_be_added_later() -> None:
    weight, late = nn.Parameter(START.clone()), nn.Parameter(torch.ones(2))
    sam = SAM(torch.optim.SGD([weight], lr=0.1, momentum=0.9), rho=0.0)
    sam.add_param_group({"params": [late], "lr": 0.5})
    late.grad = torch.ones(2)
    sam.step(lambda: None)
    assert late.tolist() == [0.5, 0.5]


def test_a_state_dict_is_the_bases_and_goes_on_to_the_bit() -> None:
    def made(value: torch.Tensor) -> tuple[nn.Parameter, SAM]:
        weight = nn.Parameter(value.clone())
        return weight, SAM(torch.optim.AdamW([weight], lr=0.1), rho=0.5)

    weight, sam = made(START)
    for _ in range(3):
        sam.step(quadratic(weight, sam))
    state = copy.deepcopy(sam.state_dict())
    assert state["state"][0]["step"] == 3
    plain = torch.optim.AdamW([nn.Parameter(START.clone())], lr=0.1)
    plain.load_state_dict(state)
    resumed, other = made(weight.detach())
    other.load_state_dict(state)
    schedule = torch.optim.lr_scheduler.LambdaLR(other, lambda step: 1.0)
    for _ in range(3):
        sam.step(quadratic(weight, sam))
        other.step(quadratic(resumed, other))
        schedule.step()
    assert torch.equal(weight, resumed)
    other.param_groups[0]["lr"] = 0.0  # groups are still those of the base
    other.step(quadratic(resumed, other))
    assert torch.equal(weight, resumed)


# --- running statistics


def test_kept_buffers_are_as_before_whatever_happens_inside() -> None:
    norm = nn.BatchNorm1d(2)
    norm(torch.randn(4, 2))
    before = copy.deepcopy(norm.state_dict())
    with kept_buffers(norm):
        norm(torch.full((4, 2), torch.nan))
        assert norm.running_mean is not None
        assert bool(norm.running_mean.isnan().all())
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])
    norm(torch.randn(4, 2))
    assert not torch.equal(norm.state_dict()["running_mean"], before["running_mean"])


# --- inside Lightning


class Module(lightning.LightningModule):
    """Dropout and batch norm; random numbers are set by the step, as the caller of SAM must do."""

    def __init__(self, make: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.make = make
        self.random: list[torch.Tensor] = []
        self.clipped: list[float] = []
        self.seconds = 0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(100 + self.global_step)

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        self.seconds += 1
        torch.manual_seed(100 + self.global_step)
        with kept_buffers(self.network):
            yield

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.random.append(torch.get_rng_state())
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [each.grad for each in self.parameters() if each.grad is not None]
        self.clipped.append(float(torch.nn.utils.get_total_norm(gradients)))

    def configure_optimizers(self) -> Any:
        optimizer = self.make(self)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.9**step), "interval": "step"}}  # fmt: skip


def fitted(make: Callable[..., torch.optim.Optimizer], **options: Any) -> Module:
    module = Module(make)
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(24, 6, generator=generator), torch.arange(24) % 3)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=8))
    assert trainer.global_step == 6
    return module


def plain(module: Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def sharp(rho: float) -> Callable[[Module], torch.optim.Optimizer]:
    return lambda module: SAM(plain(module), rho, second_pass=module.second_pass)


def test_lightning_runs_the_closure_twice_a_step_over_the_same_random_numbers() -> None:
    module = fitted(sharp(0.5))
    assert module.seconds == 6
    assert len(module.random) == 12
    for first, second in zip(module.random[::2], module.random[1::2], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(module.random[0], module.random[2])


def test_a_radius_of_zero_is_the_base_optimizer_to_the_bit() -> None:
    base, zero = fitted(plain).state_dict(), fitted(sharp(0.0)).state_dict()
    for name, value in base.items():  # running statistics and their count, too
        assert torch.equal(zero[name], value), name
    assert base["network.1.num_batches_tracked"] == 6


def test_without_a_second_pass_that_repeats_the_first_it_would_not_be() -> None:
    careless = fitted(lambda module: SAM(plain(module), 0.0))
    assert not torch.equal(careless.network[0].weight, fitted(plain).network[0].weight)
    assert careless.state_dict()["network.1.num_batches_tracked"] == 12


def test_a_radius_above_zero_is_not() -> None:
    assert not torch.equal(fitted(sharp(0.1)).network[0].weight, fitted(plain).network[0].weight)


def test_clipping_bounds_the_gradient_of_the_step_and_leaves_the_way_up_alone() -> None:
    """Clipped by norm, the first gradient keeps its direction, and its length does not count."""
    free, clipped = fitted(sharp(0.5)), fitted(sharp(0.5), gradient_clip_val=1e6)
    assert torch.equal(free.network[0].weight, clipped.network[0].weight)
    tight = fitted(sharp(0.5), gradient_clip_val=0.01)
    assert len(tight.clipped) == 12  # both passes
    moved = (tight.network[4].bias.detach() - Module(plain).network[4].bias.detach()).norm()
    # six steps of at most 0.1 x 0.01, each multiplied up by momentum
    assert 0 < moved < 6 * 0.1 * 0.01 / (1 - 0.9)
    torch.testing.assert_close(tight.clipped[1], free.clipped[1], rtol=1e-4, atol=0)
