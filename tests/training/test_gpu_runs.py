"""What only a GPU can show: that an epoch does not wait for it, as CUDA itself tells, and runs under its options."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from terrablate.config import Config
from terrablate.training.classifier import Classifier
from terrablate.training.epoch_end import EpochEnd
from terrablate.training.run import _fit, prepare

type Compose = Callable[..., Config]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
TINY = (
    "trainer=gpu", "trainer.threads=1", "epochs=3", "batch_size=16", "data.train=60", "model=small_cnn",
    "model.width=8", "norm=batch", "optim=momentum", "trainer.checkpoint_seconds=1000", "data.storage=device",
)  # fmt: skip


def train(config: Config) -> tuple[Classifier, list[float]]:
    job = prepare(config)
    job.record.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    module, _ = _fit(job, [])
    with (job.record.folder / "metrics.csv").open() as file:
        return module, [float(row["nll/val"]) for row in csv.DictReader(file)]


@pytest.fixture
def waits_are_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From the second epoch on: what happens once in a run, such as setting up libraries, may wait."""

    def set_before(name: str, mode: str) -> None:
        inner = getattr(EpochEnd, name)

        def call(callback: EpochEnd, trainer: Any, module: Any) -> Any:
            if trainer.current_epoch > 0:
                torch.cuda.set_sync_debug_mode(mode)
            return inner(callback, trainer, module)

        monkeypatch.setattr(EpochEnd, name, call)

    set_before("on_train_epoch_start", "error")
    set_before("on_train_epoch_end", "default")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("waits_are_errors")
@pytest.mark.parametrize(
    "words",
    [
        "aug=all", "aug=randaug", "aug=trivial", "aug=mixup", "aug=cutmix", "optim=adamw optim.clip_norm=0.1",
        "optim=sam", "optim=adamw optim.fused=true trainer.precision=auto trainer.channels_last=true", "optim=timm",
        "regularize=[ema,l1,adversarial]", "regularize=consistency data.train_per_class=2 aug=all", "loss=focal",
        "dropout=head data.sampler=balanced data.train=57", "schedule=cosine optim.accumulate=2",
    ],
)  # fmt: skip
def test_an_epoch_waits_for_the_gpu_at_its_end_only(compose: Compose, words: str) -> None:
    train(compose(*TINY, *words.split()))


@pytest.mark.parametrize(
    "words",
    ["trainer.channels_last=true", "optim.fused=true", "trainer.deterministic=false", "trainer.compile=default",
     "trainer.compile=reduce-overhead"],
)  # fmt: skip
def test_what_is_computed_is_the_same_within_rounding(compose: Compose, words: str) -> None:
    assert train(compose(*TINY, words))[1] == pytest.approx(train(compose(*TINY))[1], rel=2e-2)


def test_a_deterministic_run_gives_its_digits_again(compose: Compose, tmp_path: Path) -> None:
    folders = (f"runs_dir={tmp_path / name}" for name in ("first", "second"))
    first, second = (train(compose(*TINY, "aug=all", folder))[0].state_dict() for folder in folders)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_small_pack_is_resident(compose: Compose) -> None:
    module, _ = train(compose(*TINY, "data.storage=auto"))
    assert module.trainer.datamodule.images("train")._images.device.type == "cuda"  # type: ignore[attr-defined]
