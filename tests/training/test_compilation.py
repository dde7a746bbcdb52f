"""torch.compile: which batches are computed by compiled code, what it changes, and what is left of it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from terrablate.config import Config
from terrablate.training import compilation
from terrablate.training.classifier import Classifier
from terrablate.training.run import _fit, _resumed_history, prepare

type Compose = Callable[..., Config]
TINY = (
    "trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=16", "data.train=44", "model=lenet",
    "trainer.checkpoint_seconds=0",
)  # fmt: skip
COMPILED = "trainer.compile=default"


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """In place of the compiler: computes the network itself and notes the images of each call."""
    sizes: list[int] = []
    real = torch.compile

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            sizes.append(max(len(each) for each in args if each.ndim == 4 and each.shape[1] == 13))
            return graph(*args)

        return call

    def compiling(function: Any, *, mode: str, dynamic: bool) -> Any:
        assert (mode, dynamic) == ("default", False)
        return real(function, backend=backend, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", compiling)
    monkeypatch.setenv("CXX", "sh")  # nothing asks it to compile
    yield sizes
    torch.compiler.set_stance("default")
    torch.compiler.reset()


def train(config: Config) -> Classifier:
    job = prepare(config)
    job.record.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    return _fit(job, [], _resumed_history(job))[0]


def is_same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(value, second[name]) for name, value in first.items())


def test_whole_batches_are_compiled_and_the_last_one_and_evaluations_are_not(
    compose: Compose, by_hand: list[int]
) -> None:
    plain, compiled = train(compose(*TINY)), train(compose(*TINY, COMPILED))
    assert by_hand == [16, 16] * 2  # of 44 images; the third batch has 12, val 20 and the probe 20
    assert is_same(plain, compiled)


def test_a_batch_of_all_images_is_whole(compose: Compose, by_hand: list[int]) -> None:
    train(compose(*TINY, COMPILED, "batch_size=64"))
    assert by_hand == [44, 44]


@pytest.mark.parametrize("words", ["optim=sam", "regularize=[ema,adversarial]", "optim.accumulate=2", "dropout=head"])
def test_tricks_that_pass_through_the_network_more_than_once_give_the_same(
    compose: Compose, by_hand: list[int], words: str
) -> None:
    plain, compiled = (train(compose(*TINY, *words.split(), *more)) for more in ((), (COMPILED,)))
    assert set(by_hand) == {16}
    assert is_same(plain, compiled)


def test_nothing_is_left_of_it_after_a_run(compose: Compose, by_hand: list[int]) -> None:
    module = train(compose(*TINY, COMPILED))
    assert module.network._compiled_call_impl is None
    calls = len(by_hand)
    module.network(torch.zeros(16, 13, 16, 16))
    assert len(by_hand) == calls
    anew = torch.compile(lambda images: images + 1, mode="default", dynamic=False)
    anew(torch.zeros(3, 13, 2, 2))
    assert by_hand[calls:] == [3]  # the compiler itself is on


def test_nothing_is_left_of_it_after_a_failure_and_a_resumed_run_gives_the_same(
    compose: Compose, by_hand: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(compose(*TINY, COMPILED, f"runs_dir={tmp_path / 'whole'}"))
    networks: list[nn.Module] = []
    inner = Classifier.training_step

    def failing(module: Classifier, batch: Any, batch_idx: int) -> Any:
        networks.append(module.network)
        if module.current_epoch == 1:
            raise RuntimeError("cut off")
        return inner(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", failing)
        with pytest.raises(RuntimeError, match="cut off"):
            train(compose(*TINY, COMPILED))
    assert networks[-1]._compiled_call_impl is None
    assert is_same(train(compose(*TINY, COMPILED)), whole)


def test_without_the_key_nothing_is_added(compose: Compose) -> None:
    assert compilation.compilation(compose(*TINY), 44) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler for the CPU needs g++, which is not there")
def test_what_torch_compiles_gives_the_same_within_rounding(compose: Compose) -> None:
    plain, compiled = train(compose(*TINY)), train(compose(*TINY, COMPILED))
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-5)
