"""Regularisers that cannot act, or not together, are refused in one sentence; any other subset composes."""

from collections.abc import Callable

import pytest

from terrablate.config import Config
from terrablate.errors import ConfigError

type Compose = Callable[..., Config]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("regularize=l2_sp", "regularize=l2_sp: there are no pretrained weights to stay near with weights=scratch; "),
        ("regularize=[ema,swa]", "regularize=[ema,swa]: one average only can be evaluated; leave one of them out"),
        ("regularize=ema keep_optimizer=true", "keep_optimizer=true: regularize=ema leaves the average of the weights"),
        ("regularize=swa keep_optimizer=true", "keep_optimizer=true: regularize=swa leaves the average of the weights"),
        ("regularize=swa epochs=1", "regularize.swa.start=0.75: with epochs=1 it leaves one epoch"),
        ("regularize=swa epochs=2", "regularize.swa.start=0.75: with epochs=2 it leaves one epoch"),
        ("regularize=swa regularize.swa.start=0.95", "regularize.swa.start=0.95: with epochs=15 it leaves one epoch"),
        (
            "regularize=adversarial regularize.adversarial.step_size=0.1",
            "regularize.adversarial.step_size=0.1: with steps=1 (FGSM) the step is epsilon; leave it at null, ",
        ),
        (
            "regularize=adversarial trainer.precision=16",
            "trainer.precision=16: gradients by the image vanish in half precision",
        ),
        (
            "regularize=smooth_input_gradient trainer.precision=bf16",
            "trainer.precision=bf16: regularize=smooth_input_gradient takes the gradient of a gradient",
        ),
        ("regularize=consistency aug=flip", "regularize=consistency: needs images without labels, which are those "),
        (
            "regularize=consistency data.train_per_class=2",
            "regularize=consistency: needs an aug that changes single images to compare both views, and aug=none ",
        ),
        (
            "regularize=consistency data.train_per_class=2 aug=mixup",
            "regularize=consistency: needs an aug that changes single images to compare both views, and aug=mixup ",
        ),
        (
            "regularize=consistency data.train_per_class=2 aug=flip aug.strength=0",
            "regularize=consistency: needs an aug that changes single images to compare both views, and aug=flip ",
        ),
        (
            "regularize=prune trainer=ddp trainer.devices=2",
            "trainer.devices=2: regularize=prune exchanges the parameters of the network, which distributed training ",
        ),
        (
            "regularize=prune regularize.prune.start=0.7",
            "regularize.prune.start=0.7: lies after regularize.prune.end=0.6; start before it",
        ),
        (
            "regularize=prune regularize.prune.end=1",
            "regularize.prune.end=1: with epochs=15 no epoch would follow that trains what is left; use less, or give ",
        ),
        ("regularize=prune epochs=1", "regularize.prune.end=0.6: with epochs=1 no epoch would follow that trains "),
        (
            "regularize=prune epochs=1 regularize.prune.rounds=1",
            "regularize.prune.start=0.2: with epochs=1 no epoch would follow that trains what is left; ",
        ),
        (
            "regularize=prune epochs=5",
            "regularize.prune.rounds=4: between start=0.2 and end=0.6 of epochs=5 3 epochs end; use no more rounds ",
        ),
        ("regularize=prune regularize.prune.amount=1", "regularize.prune.amount=1: expected a number from 0 to less "),
        ("regularize=prune regularize.prune.scope=local", "regularize.prune.scope=local: expected "),
        (
            "regularize=[l1,ema] finetune=frozen_features model=resnet18",
            "regularize=l1+ema: finetune=frozen_features trains nothing by gradients; use regularize=[]",
        ),
    ],
)
def test_what_cannot_act_is_refused(compose: Compose, overrides: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(*overrides.split())
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        "regularize=[]",
        "regularize=[l1,ema,adversarial,smooth_input_gradient]",
        "regularize=swa epochs=4",
        "regularize=swa epochs=2 regularize.swa.start=0.5",
        "regularize=swa epochs=2 regularize.swa.start=0",
        "regularize=swa steps=10",
        "regularize=adversarial regularize.adversarial.steps=3 regularize.adversarial.step_size=0.1",
        "regularize=adversarial trainer.precision=bf16",
        "regularize=prune epochs=2 regularize.prune.rounds=1",
        "regularize=prune epochs=1 regularize.prune.amount=0",
        "regularize=prune steps=10",
        "regularize=prune epochs=5 debug=smoke",
        "regularize=[prune,ema] optim=sam finetune=gradual",
        "regularize=[consistency,swa] data.train_per_class=2 aug=flip",
    ],
)
def test_what_can_is_not(compose: Compose, overrides: str) -> None:
    compose(*overrides.split())


def test_several_compose_under_their_own_names_and_keep_one_order(compose: Compose) -> None:
    config = compose("regularize=[ema,l1]", "regularize.l1.weight=0.5", "regularize.ema.decay=0.9")
    assert config.regularize.name == "l1+ema"
    assert list(config.regularize.chosen) == ["l1", "ema"]
    assert config.regularize.l1 is not None
    assert config.regularize.ema is not None
    assert (config.regularize.l1.weight, config.regularize.ema.decay) == (0.5, 0.9)


def test_none_is_the_default(compose: Compose) -> None:
    assert compose().regularize.name == "none"
    assert compose().regularize.chosen == {}
    assert compose("regularize=l1", "regularize.l1=null").regularize.name == "none"


# --- pruning: when


@pytest.mark.parametrize(
    ("given", "epochs", "expected"),
    [
        ("", 15, {3: 0.075, 5: 0.15, 7: 0.225, 9: 0.3}),
        ("", 100, {20: 0.075, 34: 0.15, 47: 0.225, 60: 0.3}),
        ("regularize.prune.rounds=1", 15, {3: 0.3}),
        ("regularize.prune.rounds=1 regularize.prune.start=0", 15, {1: 0.3}),
        ("regularize.prune.rounds=2 regularize.prune.amount=0.8", 10, {2: 0.4, 6: 0.8}),
        ("", 2, {1: 0.3}),  # of a short look, whose rounds fall on one epoch
        ("", 1, {}),
        ("regularize.prune.amount=0", 15, {}),
    ],
)
def test_rounds_are_spread_evenly_and_take_even_shares(
    compose: Compose, given: str, epochs: int, expected: dict[int, float]
) -> None:
    prune = compose("regularize=prune", *given.split()).regularize.prune
    assert prune is not None
    assert prune.events(epochs) == pytest.approx(expected)
