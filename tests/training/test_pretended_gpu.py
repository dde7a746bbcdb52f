"""A training step on a GPU that is not there: no tensor of the host gets into it, and no value is asked for.

torch's fake tensors have shapes and a device, but no values. What mixes devices or needs a value is an error. (The
backward pass would need the GPU itself. Draws of `randaug` and `trivial` on the host have no values here either.)
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from terrablate.config import Config
from terrablate.config.choices import choices
from terrablate.data.batches import Images
from terrablate.training.classifier import Classifier
from terrablate.training.losses import CrossEntropy
from terrablate.training.run import _module, prepare

type Compose = Callable[..., Config]
SMALL = ("model=small_cnn", "model.width=4")
TINY = ("trainer=cpu", "trainer.threads=1", "batch_size=16", "data.train=57")
GPU = torch.device("cuda", 0)
DRAWN_ON_THE_HOST = {"randaug", "trivial"}
AUGMENTATIONS = [choice.name for choice in choices("aug") if choice.name not in DRAWN_ON_THE_HOST]
LOSSES = ["focal", "l2", "label_smoothing", "weighted", "bce"]


def on_gpu(mode: FakeTensorMode, value: Any) -> Any:
    return mode.from_tensor(value).detach().to(GPU) if isinstance(value, torch.Tensor) else value


def move(mode: FakeTensorMode, module: nn.Module) -> None:
    for part in module.modules():
        for name, value in part._parameters.items():
            part._parameters[name] = value if value is None else nn.Parameter(on_gpu(mode, value))
        part._buffers.update({name: on_gpu(mode, value) for name, value in part._buffers.items()})


def step(config: Config, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The loss of the first step; its batch comes from images that are resident on the GPU."""
    job = prepare(config)
    module, _ = _module(job)
    trainer = SimpleNamespace(datamodule=job.data, world_size=1, global_rank=0, global_step=0, num_training_batches=3)
    for name, value in (("trainer", trainer), ("device", GPU), ("current_epoch", 0)):
        monkeypatch.setattr(Classifier, name, property(lambda _, value=value: value))
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    images = job.data.images("train")
    stored = torch.from_numpy(np.array(images._images))
    with mode:
        move(mode, module)
        module.regularization._start = {k: on_gpu(mode, v) for k, v in module.regularization._start.items()}
        resident = on_gpu(mode, stored)
        images = Images(resident, job.data.given_labels, job.data.train_indices)
        if module.regularization.unlabelled_ratio:
            own = job.data.unlabelled_images()
            module._unlabelled = Images(resident, job.data.pack.labels("train"), own._indices)
        module.train()
        module._generator = torch.Generator()
        return module.training_step(images.take(np.arange(16)), 0)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_stays_on_the_gpu(compose: Compose, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert step(compose(*TINY, *SMALL, f"aug={name}"), monkeypatch).device == GPU


@pytest.mark.parametrize(
    "words",
    [
        *(f"loss={name}" for name in LOSSES),
        "data=synthetic_multilabel loss=bce aug=mixup",
        "data.bands=rgb aug=color",
        "regularize=l1",
        "regularize=ema",
        "regularize=consistency data.train_per_class=2 aug=all",
        "dropout=head",
        "dropout=spatial",
        "norm=group",
        "norm=instance",
        "trainer.channels_last=true",
        "data.normalize=none",
    ],
)
def test_a_step_stays_on_the_gpu(compose: Compose, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    assert step(compose(*TINY, *SMALL, *words.split()), monkeypatch).device == GPU


@pytest.mark.parametrize("model", ["lenet", "mlp", "local_cnn", "resnet20", "timm model.timm_name=test_vit"])
def test_networks_stay_on_the_gpu(compose: Compose, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    size = "data.image_size=32"
    assert step(compose(*TINY, *f"model={model}".split(), size), monkeypatch).device == GPU


def asking(loss: CrossEntropy, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.sum(1) * float(targets.sum())


def mixing(loss: CrossEntropy, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.sum(1) * torch.ones(len(targets))


@pytest.mark.parametrize(
    ("wrong", "error"), [(asking, DataDependentOutputException), (mixing, RuntimeError)], ids=["asking", "mixing"]
)
def test_what_does_not_is_noticed(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, wrong: Any, error: type[Exception]
) -> None:
    monkeypatch.setattr(CrossEntropy, "per_image", wrong)
    with pytest.raises(error):
        step(compose(*TINY, *SMALL), monkeypatch)
