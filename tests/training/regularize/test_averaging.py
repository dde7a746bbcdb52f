"""EMA and SWA over real optimizer steps against their definitions, and running statistics taken anew."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from terrablate.config.schema.regularize import EMA, SWA
from terrablate.training.regularize.averaging import Averaging, deployed, move_towards, refresh_statistics


class Network(nn.Module):
    """With a norm that keeps statistics, dropout, and a table of whole numbers."""

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        )
        self.register_buffer("table", torch.arange(100))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).mean((2, 3))


def steps(
    network: nn.Module, count: int, after: Callable[[nn.Module], None] = lambda network: None
) -> list[dict[str, torch.Tensor]]:
    """Train and give the state after each step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(1)
    states = []
    for _ in range(count):
        optimizer.zero_grad()
        network(torch.randn(6, 2, 5, 5, generator=generator)).square().mean().backward()
        optimizer.step()
        after(network)
        states.append(copy.deepcopy(network.state_dict()))
    return states


def test_ema_is_the_exponential_average_of_weights_and_statistics_after_each_step() -> None:
    network = Network()
    averaging = Averaging(network, EMA(decay=0.8))
    assert averaging.network is None
    states = steps(network, 5, averaging.after_step)
    assert averaging.network is not None
    assert not torch.equal(averaging.network.layers[0].weight, network.layers[0].weight)
    for name, value in averaging.network.state_dict().items():
        expected = states[0][name].double()
        for state in states[1:]:
            expected = 0.8 * expected + 0.2 * state[name].double()
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(value, states[-1][name])


def test_whole_numbers_are_taken_over_and_not_averaged() -> None:
    """0.9 * 7 + 0.1 * 7 may fall below 7, which would be cut to 6."""
    table, fraction = torch.arange(1000), torch.zeros(1)
    move_towards([table, fraction], [torch.arange(1000) + 1, torch.ones(1)], 0.9)
    assert torch.equal(table, torch.arange(1000) + 1)
    assert fraction.item() == pytest.approx(0.1)


def test_an_ema_without_memory_is_the_network_to_the_bit() -> None:
    network = Network()
    averaging = Averaging(network, EMA(decay=0.0))
    steps(network, 3, averaging.after_step)
    assert averaging.network is not None
    assert all(torch.equal(v, network.state_dict()[name]) for name, v in averaging.network.state_dict().items())


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs_from_its_start_on() -> None:
    network = Network()
    averaging = Averaging(network, SWA(start=0.5))
    states = []
    for epoch in range(1, 7):
        states.append(steps(network, 3)[-1])
        averaging.after_step(network)  # says nothing to it
        averaging.after_epoch(network, epoch, 6, [torch.randn(8, 2, 5, 5)])
        assert (averaging.network is None) == (epoch < 3)
    assert averaging.network is not None
    for name, value in averaging.network.named_parameters():
        torch.testing.assert_close(value, torch.stack([state[name] for state in states[2:]]).mean(0))


def test_swa_takes_statistics_of_all_training_images_without_dropout() -> None:
    network = Network()
    averaging = Averaging(network, SWA(start=0.0))
    steps(network, 2)
    batches = [torch.randn(count, 2, 5, 5) * scale for count, scale in ((8, 1.0), (8, 3.0), (4, 1.0))]
    averaging.after_epoch(network, 1, 2, batches)
    average = averaging.network
    assert average is not None
    with torch.no_grad():
        means = [average.layers[0](batch).mean((0, 2, 3)) for batch in batches]
    expected = (8 * means[0] + 8 * means[1] + 4 * means[2]) / 20
    torch.testing.assert_close(average.layers[1].running_mean, expected, rtol=1e-5, atol=1e-6)
    assert not average.training
    assert not any(module.training for module in average.modules())
    assert average.layers[1].momentum == 0.1
    # the second norm sees what eval mode gives it, so one batch alone gives its own mean exactly
    refresh_statistics(average, batches[:1], [average.layers[1], average.layers[5]])
    with torch.no_grad():
        batch = average.layers[:1](batches[0])
        hidden = average.layers[4](nn.functional.batch_norm(
            batch, None, None, average.layers[1].weight, average.layers[1].bias, training=True
        ).relu())  # fmt: skip
    torch.testing.assert_close(average.layers[5].running_mean, hidden.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        average.layers[5].running_var, hidden.var((0, 2, 3), unbiased=True), rtol=1e-4, atol=1e-5
    )


def test_statistics_that_are_frozen_stay() -> None:
    network = Network()
    steps(network, 1)
    network.layers[1].eval()
    averaging = Averaging(network, SWA(start=0.0))
    averaging.after_epoch(network, 1, 2, [torch.randn(8, 2, 5, 5) + 5])
    assert averaging.network is not None
    assert torch.equal(averaging.network.layers[1].running_mean, network.layers[1].running_mean)
    assert not torch.equal(averaging.network.layers[5].running_mean, network.layers[5].running_mean)


@pytest.mark.parametrize("section", [EMA(decay=0.9), SWA(start=0.0)])
def test_a_state_that_is_loaded_goes_on_to_the_bit(section: EMA | SWA) -> None:
    network = Network()
    first = Averaging(network, section)
    for _ in range(3):
        steps(network, 1)
        first.after_step(network)
        first.after_epoch(network, 1, 1, [])
    second = Averaging(Network(), section)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(network, 1)
    for averaging in (first, second):
        averaging.after_step(network)
        averaging.after_epoch(network, 1, 1, [])
    assert all(torch.equal(v, second.state_dict()[name]) for name, v in first.state_dict().items())
    assert len({name for name, v in first.state_dict().items() if name != "n_averaged"}) == len(network.state_dict())


def test_a_deployed_checkpoint_holds_the_average_as_the_network_and_is_deployed_once() -> None:
    network = Network()
    averaging = Averaging(network, EMA(decay=0.9))
    state = {f"network.{name}": value for name, value in network.state_dict().items()} | {
        "inputs.center": torch.ones(1)
    }
    checkpoint = {"state_dict": state, "averaging": averaging.state_dict(), "epoch": 3}
    assert deployed(checkpoint) == {"state_dict": state, "epoch": 3}  # nothing was averaged yet
    for _ in range(2):
        steps(network, 1)
        averaging.after_step(network)
    found = deployed({**checkpoint, "averaging": averaging.state_dict()})
    assert averaging.network is not None
    assert set(found) == {"state_dict", "epoch"}
    assert set(found["state_dict"]) == set(state)
    for name, value in averaging.network.state_dict().items():
        assert torch.equal(found["state_dict"][f"network.{name}"], value)
    assert deployed(found) is found


def test_the_average_has_no_gradients_and_never_touches_the_network() -> None:
    network = Network().train()
    averaging = Averaging(network, EMA(decay=0.5))
    steps(network, 1)
    before = copy.deepcopy(network.state_dict())
    averaging.after_step(network)
    averaging.after_step(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert averaging.network is not None
    assert not any(parameter.requires_grad for parameter in averaging.network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
