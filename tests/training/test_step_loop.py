"""Our loop over batches gives what Lightning's own gives, to the bit, and asks it far less in each step."""

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any
from unittest.mock import MagicMock, Mock, call

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.utilities.exceptions import SIGTERMException

from terrablate.config import Config
from terrablate.training import run as runs
from terrablate.training import trainer
from terrablate.training.classifier import Classifier
from terrablate.training.epoch_end import EpochEnd
from terrablate.training.precision import HalfPrecision
from terrablate.training.run import _fit, prepare, run
from terrablate.training.signals import Signals
from terrablate.training.step_loop import StepLoop

type Compose = Callable[..., Config]
TINY = (
    "trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=8", "data.train=44", "data.size=16", "aug=flip",
    "model=small_cnn", "model.width=4", "norm=batch", "dropout=head", "trainer.checkpoint_seconds=0",
)  # fmt: skip
CALLS = ("on_train_batch_start", "on_before_optimizer_step", "configure_gradient_clipping", "training_step",
         "on_train_batch_end")  # fmt: skip
"""What the module is told in a step, and of these callbacks the first and the last."""


class Lightnings(_TrainingEpochLoop):
    """Lightning's own, with losses as it wants them: it divides them by the accumulated batches."""

    def advance(self, data_fetcher: Any) -> None:
        whole, batches = Classifier.training_step, self.trainer.accumulate_grad_batches
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Classifier, "training_step", lambda *given: whole(*given) * batches)
            super().advance(data_fetcher)


def lightnings_precision(bits: str, accelerator: str) -> Precision:
    return Precision() if bits == "32" else MixedPrecision("bf16-mixed", accelerator)


def train(
    config: Config,
    loop: type,
    callback: Callback | None = None,
    precision: Callable[[str, str], Precision] | None = None,
) -> dict[str, Any]:
    """The last checkpoint."""
    job = prepare(config)
    shutil.rmtree(job.record.folder, ignore_errors=True)
    job.record.last_checkpoint.parent.mkdir(parents=True)
    make = trainer.make_trainer

    def made(*args: Any, callbacks: list[Callback], **kwargs: Any) -> Any:
        return make(*args, callbacks=[*callbacks, *([callback] if callback else [])], **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "StepLoop", loop)
        if precision or loop is not StepLoop:
            patch.setattr(trainer, "precision_of", precision or lightnings_precision)
        patch.setattr(runs, "make_trainer", made)
        _fit(job, [])
    checkpoint: dict[str, Any] = torch.load(job.record.last_checkpoint, weights_only=True)
    for row in checkpoint["callbacks"][EpochEnd.__qualname__]["rows"]:
        del row["seconds"], row["images_per_second"]
    checkpoint["callbacks"][EpochEnd.__qualname__].pop("seconds")
    return checkpoint


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """All that stands in nested containers, by its place."""
    if isinstance(value, dict):
        parts: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return {path: value.tolist() if isinstance(value, torch.Tensor) else value}
    return {place: leaf for key, part in parts for place, leaf in flat(part, f"{path}/{key}").items()}


@pytest.mark.parametrize(
    "words",
    ["optim=adamw schedule=cosine", "optim=sam optim.clip_norm=0.5", "trainer.precision=bf16 optim.clip_norm=0.1",
     "optim.accumulate=4 schedule=onecycle regularize=ema", "steps=7 optim=momentum schedule=step schedule.every=3"],
)  # fmt: skip
def test_weights_states_and_counters_are_those_of_lightnings_loop(compose: Compose, words: str) -> None:
    config = compose(*TINY, *words.split())
    expected = flat(train(config, Lightnings))
    found = flat(train(config, StepLoop))
    assert found == expected
    assert any(place.startswith("/loops/") for place in expected)
    assert any("exp_avg" in place or "momentum" in place or "optimizer" in place for place in expected)


def test_a_scaled_loss_is_scaled_and_its_gradients_are_unscaled_as_by_lightning(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `trainer.precision=16` on a GPU; autocast to fp16 is possible on the CPU, if slow."""
    config = compose(*TINY, "optim.fused=false", "optim.clip_norm=0.1")  # a fused step unscales by itself
    whole = Classifier.training_step

    def overflowing(self: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        return whole(self, batch, batch_idx) * (float("inf") if batch_idx == 2 else 1)

    monkeypatch.setattr(Classifier, "training_step", overflowing)
    found = train(config, StepLoop, precision=lambda *_: HalfPrecision("16-mixed", "cpu"))
    expected = train(config, Lightnings, precision=lambda *_: MixedPrecision("16-mixed", "cpu"))
    scaler = found.pop("HalfPrecision")
    assert scaler == expected.pop("MixedPrecision")
    assert scaler["scale"] <= 2.0**16 / 4  # halved in each epoch, at least
    assert flat(found) == flat(expected)


@pytest.mark.parametrize("words", ["optim=sam", "optim.accumulate=2"])
def test_module_and_callbacks_are_called_in_lightnings_order(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    calls: list[tuple[str, ...]] = []

    def noting(kind: type, name: str) -> Callable[..., Any]:
        whole = getattr(kind, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((kind.__name__, name))
            return whole(*args, **kwargs)

        return call

    class Watcher(Callback):
        pass

    for name in CALLS:
        monkeypatch.setattr(Classifier, name, noting(Classifier, name))
        if name in (CALLS[0], CALLS[-1]):
            monkeypatch.setattr(Watcher, name, noting(Watcher, name), raising=False)
    config = compose(*TINY, *words.split(), "optim.clip_norm=1")
    orders = []
    for loop in (Lightnings, StepLoop):
        calls.clear()
        train(config, loop, Watcher())
        orders.append(list(calls))
    assert orders[0] == orders[1]
    assert {name for _, name in orders[0]} == set(CALLS)


def test_a_step_asks_lightning_far_less(compose: Compose) -> None:
    """Calls of its functions in a step, which are what its own loop spends its time on."""

    class Counting(Callback):
        def __init__(self) -> None:
            self.counts: Counter[str] = Counter()
            self.steps = 0

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            sys.setprofile(self._note)

        def on_train_batch_end(self, *given: Any) -> None:
            self.steps += 1

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            sys.setprofile(None)

        def _note(self, frame: FrameType, event: str, argument: Any) -> None:
            if event == "call" and "/lightning" in frame.f_code.co_filename:
                self.counts[frame.f_code.co_name] += 1

    def calls(loop: type) -> float:
        counting = Counting()
        train(compose(*TINY, "data.train=400"), loop, counting)
        return counting.counts.total() / counting.steps

    assert calls(StepLoop) < 0.3 * calls(_TrainingEpochLoop)


def test_sigterm_ends_after_the_batch(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    whole = Classifier.training_step

    def step(self: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        steps.append(batch_idx)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", step)
    with pytest.raises(KeyboardInterrupt):
        run(compose(*TINY, "data.train=80"))
    assert steps == [0, 1, 2]


@pytest.mark.parametrize(("device", "expected"), [("cpu", [*range(1, 21)]), ("cuda", [16, 20])])
def test_several_processes_agree_on_their_end_at_the_same_batches(device: str, expected: list[int]) -> None:
    """Whatever a process knows itself: else one would wait for the others, or they for it."""
    asked = []
    lightnings = Mock(world_size=2, received_sigterm=False, accumulate_grad_batches=1, num_training_batches=20)
    lightnings.strategy.root_device.type = device
    lightnings._signal_connector.agree = lambda: asked.append(loop.batch_idx + 1)
    loop = StepLoop(lightnings)
    for batches in range(1, 21):
        loop.batch_progress.current.ready = batches
        loop.on_advance_end(None)
    assert asked == expected
    lightnings.received_sigterm = True
    loop.on_advance_end(None)  # the epoch is evaluated before
    loop.batch_progress.current.ready = 16
    with pytest.raises(SIGTERMException):
        loop.on_advance_end(None)


def test_a_signal_to_any_process_ends_all_and_its_handler_asks_nobody() -> None:
    lightnings = Mock(world_size=2)
    lightnings.strategy.reduce_boolean_decision = lambda came, **_: came
    signals = Signals(lightnings)
    signals.agree()
    assert not signals.received_sigterm
    for _ in range(2):
        signals._sigterm_notifier_fn(signal.SIGTERM, None)
    assert not signals.received_sigterm
    assert lightnings.strategy.mock_calls == [call.launcher.kill(signal.SIGTERM)]
    signals.agree()
    assert signals.received_sigterm


def test_gradients_of_accumulated_batches_stay_with_their_process_until_the_last() -> None:
    synchronises = []
    lightnings = Mock(accumulate_grad_batches=2, optimizers=[Mock()])
    lightnings.strategy.model = Mock(spec=torch.nn.parallel.DistributedDataParallel)
    unsynchronised = MagicMock()
    lightnings.strategy.model.no_sync.return_value = unsynchronised
    lightnings.strategy.backward = lambda *_: synchronises.append(not unsynchronised.__enter__.called)
    lightnings.strategy.optimizer_step = lambda _, closure: closure()
    loop = StepLoop(lightnings)
    loop._learn(Mock(), 0, accumulates=False)
    loop._learn(Mock(), 0, accumulates=True)
    assert synchronises == [True, False]
    assert unsynchronised.__exit__.called
