"""What is refused of the keys of `trainer` before torch is imported."""

from collections.abc import Callable

import pytest

from terrablate.config import Config
from terrablate.config.schema.training import Trainer
from terrablate.errors import ConfigError

Compose = Callable[..., Config]
GRAPHS = "trainer.compile=reduce-overhead"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("trainer=cpu trainer.deterministic=false", "trainer.deterministic=false: changes nothing on the CPU"),
        (f"trainer=cpu {GRAPHS}", f"{GRAPHS}: is compile=default with CUDA graphs, which the CPU does not have"),
        ("trainer.compile=max-autotune", "trainer.compile=max-autotune: trainer.deterministic=true forbids kernels"),
        ("trainer=ddp trainer.compile=default", "trainer.compile=default: is for runs on one device"),
        ("trainer.compile=default finetune=frozen_features weights=imagenet model=resnet18", "trains no network"),
        ("trainer.compile=default finetune=gradual model=resnet18", "would be compiled anew at each stage"),
        ("trainer.compile=default regularize=prune", "regularize=prune removes channels"),
        ("trainer.compile=default regularize=smooth_input_gradient", "takes the gradient of a gradient"),
        (f"{GRAPHS} optim.accumulate=2", "optim.accumulate=2 needs several passes a step; use trainer.compile=default"),
        (f"{GRAPHS} optim=sam", "and optim=sam needs several passes a step"),
        (f"{GRAPHS} regularize=adversarial", "and regularize=adversarial needs several passes a step"),
        (f"{GRAPHS} regularize=consistency data.train_per_class=2 aug=all", "and regularize=consistency needs several"),
        ("regularize=smooth_input_gradient trainer.precision=auto", "trainer.precision=auto: regularize=smooth_input"),
    ],
)
def test_what_cannot_work_is_refused(compose: Compose, words: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(*words.split())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        "trainer.compile=default optim=sam",
        "trainer.compile=default regularize=[adversarial,ema] finetune=discriminative",
        f"trainer=gpu {GRAPHS} optim.fused=true trainer.precision=auto trainer.channels_last=true",
        "trainer=gpu trainer.compile=max-autotune trainer.deterministic=false",
    ],
)
def test_what_can_work_is_not(compose: Compose, words: str) -> None:
    assert compose(*words.split()).trainer.compile is not None


def test_all_that_is_new_is_off_by_default(compose: Compose) -> None:
    trainer = compose().trainer
    assert (trainer.precision, trainer.channels_last, trainer.compile, trainer.deterministic) == (
        "32",
        False,
        None,
        True,
    )
    old = Trainer(name="x", accelerator="auto", devices=1, strategy="auto", precision="32", checkpoint_seconds=1.0)
    assert (old.channels_last, old.compile, old.deterministic) == (False, None, True)
