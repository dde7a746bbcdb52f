"""Choices of norm, dropout and initial weights that cannot act, or cannot work, are refused before anything starts."""

from collections.abc import Callable

import pytest

from terrablate.config import Config
from terrablate.errors import ConfigError

Compose = Callable[..., Config]

NEEDS_SEVERAL = "norm.sync=true: needs several devices, such as trainer=ddp trainer.devices=2"
REFUSED = {
    "dropout=conv dropout.p=null": "dropout.p: dropout=conv needs a rate between 0 and 1",
    "dropout=spatial dropout.p=null": "dropout.p: dropout=spatial needs a rate between 0 and 1",
    "dropout=path dropout.p=null": "dropout.p: dropout=path needs a rate between 0 and 1",
    "+dropout.p=0.5": "dropout.p=0.5: dropout=native has no rate; choose head, conv, spatial or path",
    "dropout=none +dropout.p=0.5": "dropout.p=0.5: dropout=none has no rate; choose head, conv, spatial or path",
    "weights.std=0.1": "weights.std=0.1: belongs to weights.init=normal, not to native",
    "weights.init=kaiming weights.std=0.1": "weights.std=0.1: belongs to weights.init=normal, not to kaiming",
    "norm.frozen=true": "norm.frozen=true: weights=scratch has no statistics yet to freeze; use pretrained weights",
    "norm=batch norm.frozen=true": "norm.frozen=true: weights=scratch has no statistics yet to freeze",
    "weights=imagenet norm.frozen=true norm.momentum=0.5": "norm.momentum=0.5: norm.frozen=true keeps the statistics",
    "norm.sync=true": NEEDS_SEVERAL,
    "norm=batch norm.sync=true": NEEDS_SEVERAL,
    "norm.sync=true trainer=ddp trainer.devices=2 trainer.accelerator=cpu": (
        "norm.sync=true: torch synchronises batch normalisation on GPUs only, not on the CPU"
    ),
    "weights=imagenet norm.frozen=true norm.sync=true trainer=ddp": (
        "norm.frozen=true norm.sync=true: frozen statistics are not computed; choose one of them"
    ),
}


@pytest.mark.parametrize(("overrides", "expected"), REFUSED.items())
def test_what_cannot_work_is_refused(compose: Compose, overrides: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(*overrides.split(" "))
    assert str(refused.value).startswith(expected)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        "dropout=conv",
        "dropout=spatial dropout.p=0.2",
        "dropout=path",
        "weights.init=normal weights.std=0.1",
        "weights.init=xavier",
        "weights=imagenet norm.frozen=true",
        "weights=imagenet norm=batch norm.frozen=true batch_size=1",
        "norm.momentum=0.01 norm.eps=0.001",
        "norm.sync=true trainer=ddp",
        "norm=batch norm.sync=true trainer=ddp trainer.devices=2",
        "norm=group norm.groups=8",
        "norm=layer batch_size=1",
        "norm=instance",
    ],
)
def test_what_can_work_is_accepted(compose: Compose, overrides: str) -> None:
    compose(*overrides.split(" "))


def test_settings_of_one_kind_are_unknown_to_another(compose: Compose) -> None:
    for overrides in ("norm=group +norm.momentum=0.5", "norm=layer +norm.groups=4", "norm=instance +norm.sync=true"):
        with pytest.raises(ConfigError, match=r"^norm\.(momentum|groups|sync)"):
            compose(*overrides.split(" "))
