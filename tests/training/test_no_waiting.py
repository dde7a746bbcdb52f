"""Between the ends of two epochs nothing waits for a device: what is trained is a queue of work for it.

There is no device here, so that what would wait is told by what is asked: numbers of a tensor that would lie on the
device, or shapes that depend on them. On the host are constants, and what is computed from nothing else, such as the
counters of optimizers. With `trainer.precision=16` each step waits by its nature: its scale of the loss follows what
overflowed.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from terrablate.augment import changes
from terrablate.config import Config
from terrablate.config.choices import choices, takes_several
from terrablate.training.epoch_end import EpochEnd
from terrablate.training.run import _fit, prepare

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense, aten.nonzero, aten.nonzero_numpy, aten.masked_select, aten.equal, aten._unique2,
    aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.repeat_interleave, aten.is_nonzero,
}  # fmt: skip
"""Operations whose result is a number of the host, or has as many values as the device has found."""
SEED_OF_HOST = 271828
"""Tells what is drawn on the host for the host."""
SETTINGS = (
    "trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=8", "trainer.checkpoint_seconds=1000",
    "data.image_size=32", "data.storage=device", "model=timm", "model.timm_name=test_resnet",
)  # fmt: skip
ROWS = [
    "aug=none loss=cross_entropy optim=adamw schedule=constant dropout=native",
    "aug=flip loss=focal optim=sgd schedule=cosine dropout=head regularize=l1",
    "aug=rotate90 loss=l2 optim=momentum schedule=step schedule.every=1 dropout=conv regularize=ema",
    "aug=color loss=label_smoothing optim=nesterov schedule=multistep dropout=spatial"
    " regularize=swa regularize.swa.start=0.5",
    "aug=noise loss=weighted data.train=57 optim=adam schedule=onecycle dropout=path regularize=adversarial",
    "aug=blur loss=bce optim=rmsprop schedule=plateau dropout=none regularize=smooth_input_gradient",
    "aug=erase data=synthetic_multilabel loss=bce optim=sam schedule.warmup=0.5",
    "aug=band_drop optim=sam_adamw optim.clip_norm=0.1",
    "aug=randaug optim=timm regularize=adversarial regularize.adversarial.steps=2 regularize.adversarial.share=0.5",
    "aug=trivial optim=adamw optim.fused=true optim.clip_norm=0.1 optim.accumulate=2",
    "aug=geometric optim=momentum optim.fused=true trainer.precision=bf16",
    "aug=rotate trainer.channels_last=true optim=timm optim.timm_name=lamb",
    "aug=crop regularize=consistency data.train_per_class=2",
    "aug=translate norm=group model=small_cnn model.timm_name=null",
    "aug=mixup regularize=[prune,l1] regularize.prune.start=0 regularize.prune.end=0.5 regularize.prune.rounds=1",
    "aug=cutmix finetune=gradual finetune.epochs_per_stage=1",
    "aug=flip_color finetune=head",
    "aug=all finetune=discriminative data.sampler=balanced data.train=57",
]
"""Short runs in which each choice has its place."""
ELSEWHERE = {"regularize": {"l2_sp"}, "finetune": {"full", "frozen_features"}}
"""Choices that need weights, that every other row has, or that train by no steps."""


class Waits(TorchDispatchMode):
    """Notes each operation of a training step that would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.is_on = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        packet = func.overloadpacket
        on_host = all(hasattr(tensor, "is_of_host") for tensor in given) and kwargs.get("device") is None
        on_host |= packet is aten.lift_fresh  # what `torch.tensor` has made of numbers
        generator = kwargs.get("generator")
        on_host |= generator is not None and generator.initial_seed() == SEED_OF_HOST
        if self.is_on and not on_host and (packet in WAITING or (packet is aten.index and is_by_mask(args[1]))):
            self.found.append(f"{packet} {place()}")
        result = func(*args, **kwargs)
        if on_host:
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    leaf.is_of_host = True
        return result


def place() -> str:
    """The innermost line that is not this file's, nor torch's own."""
    frames = traceback.extract_stack()[:-2]
    outside = [f for f in frames if "/torch/" not in f.filename or "/torch/optim/" in f.filename]
    frame = next(each for each in reversed(outside) if each.filename != __file__)
    return f"{frame.filename}:{frame.lineno}"


def is_by_mask(indices: list[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What waits between the start of an epoch and its end."""
    waits = Waits()

    def within(name: str, is_on: bool) -> None:
        inner = getattr(EpochEnd, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            waits.is_on = is_on
            return inner(*args, **kwargs)

        monkeypatch.setattr(EpochEnd, name, call)

    def reading(name: str) -> None:
        inner = getattr(torch.Tensor, name)

        def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if waits.is_on and not hasattr(tensor, "is_of_host"):
                waits.found.append(f"{name} {place()}")
            return inner(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, call)

    # another one, as for a generator of a GPU
    monkeypatch.setattr(changes, "on_host", lambda generator: torch.Generator().manual_seed(SEED_OF_HOST))
    within("on_train_epoch_start", True)
    within("on_train_epoch_end", False)
    for name in ("tolist", "numpy", "cpu"):
        reading(name)
    with waits:
        yield waits.found


def train_epochs(config: Config) -> None:
    job = prepare(config)
    job.record.last_checkpoint.parent.mkdir(parents=True)
    module, _ = _fit(job, [])
    assert module.trainer.global_step > 0


@pytest.mark.parametrize("row", ROWS)
def test_a_training_step_waits_for_nothing(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    words = [word for word in row.split() if not word.endswith("=null")]
    settings = [word for word in SETTINGS if not (word.startswith("model") and "model=small_cnn" in words)]
    config = compose(*settings, *words)
    with watched(monkeypatch) as found:
        train_epochs(config)
    assert found == []


@pytest.mark.parametrize("group", ["aug", "loss", "optim", "schedule", "dropout", "regularize", "finetune"])
def test_every_choice_has_its_row(group: str) -> None:
    given = {word.partition("=")[2] for row in ROWS for word in row.split() if word.startswith(f"{group}=")}
    if takes_several(group):
        given = {name for words in given for name in words.strip("[]").split(",")}
    assert {choice.name for choice in choices(group)} - given == ELSEWHERE.get(group, set())


def mask(values: torch.Tensor) -> object:
    return values[values > 0]


@pytest.mark.parametrize(
    ("asking", "name"),
    [
        (lambda values: float(values.sum()), "_local_scalar_dense"),
        (lambda values: bool((values > 0).all()), "_local_scalar_dense"),
        (mask, "index"),
        (lambda values: values.nonzero(), "nonzero"),
        (lambda values: torch.equal(values, values), "equal"),
        (lambda values: values.unique(), "_unique2"),
        (lambda values: values.cpu(), "cpu"),
        (lambda values: values.tolist(), "tolist"),
    ],
)
def test_what_waits_is_noticed(
    monkeypatch: pytest.MonkeyPatch, asking: Callable[[torch.Tensor], Any], name: str
) -> None:
    monkeypatch.setattr(EpochEnd, "on_train_epoch_start", lambda: None)
    values = torch.arange(4)
    with watched(monkeypatch) as found:
        EpochEnd.on_train_epoch_start()  # type: ignore[call-arg]
        float(torch.tensor(1.0) + 1)  # a constant of the host
        assert found == []
        asking(values)
    assert name in found[0]
