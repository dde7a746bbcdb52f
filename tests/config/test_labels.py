"""`data.labels`: neutral by default, and with several labels what asks for one class of an image is refused."""

from collections.abc import Callable

import pytest

from terrablate.config import Config
from terrablate.config.identity import Hardware, _essential, identity
from terrablate.errors import ConfigError

type Compose = Callable[..., Config]

SEVERAL = ("data=synthetic_multilabel", "loss=bce")
GIVEN = "data=synthetic_multilabel has several labels an image"


def test_one_label_is_the_default_and_leaves_identities_as_they_were(compose: Compose) -> None:
    assert compose().data.labels == "one"
    assert "labels" not in _essential(compose())["data"]


def test_several_labels_are_another_run(compose: Compose) -> None:
    hardware = Hardware("cpu", 1, "32", 1)
    configs = [compose("loss=bce", f"data.labels={labels}") for labels in ("one", "several")]
    assert len({identity(config, "data", None, hardware) for config in configs}) == 2


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        *(
            (f"loss={loss}", f"loss={loss}: asks for the one class of an image, and {GIVEN}; use loss=bce")
            for loss in ("cross_entropy", "weighted", "focal", "label_smoothing", "l2")
        ),
        ("data.label_noise=0.2", f"data.label_noise=0.2: replaces the one class of an image by another, and {GIVEN}; "),
        ("data.imbalance=5.0", "data.imbalance=5: leaves out images class by class, and data=synthetic_multilabel has"),
        ("data.sampler=balanced", f"data.sampler=balanced: shows every class equally often, and {GIVEN}, so that no"),
    ],
)
def test_what_asks_for_one_class_is_refused(compose: Compose, overrides: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(*SEVERAL, *overrides.split())
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_folders_have_one_class_an_image(compose: Compose, tmp_path: object) -> None:
    with pytest.raises(ConfigError, match=r"^data\.labels=several: data=folder takes the one class of an image"):
        compose("data=folder", f"data.root={tmp_path}", "data.labels=several", "loss=bce")


@pytest.mark.parametrize(
    "overrides",
    [
        "aug=mixup", "aug=cutmix", "optim=sam", "regularize=adversarial", "regularize=smooth_input_gradient",
        "regularize=consistency data.train_per_class=3 aug=flip", "finetune=frozen_features model=resnet18",
        "data.val_per_class=2", "stop=fitted", "stop=early stop.metric=accuracy", "robustness=true", "lr_find=true",
    ],
)  # fmt: skip
def test_what_has_a_meaning_for_several_labels_composes(compose: Compose, overrides: str) -> None:
    compose(*SEVERAL, *overrides.split())


def test_one_against_the_rest_is_still_trained_with_one_label(compose: Compose) -> None:
    assert compose("loss=bce", "data.sampler=balanced").data.labels == "one"
