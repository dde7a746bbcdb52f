"""Every mistake in a config gives one sentence that names the key, what was given and what is allowed."""

import sys
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from terrablate.config import parse
from terrablate.config.messages import of_hydra
from terrablate.errors import ConfigError

NO_OVERRIDE = "not an override; write key=value or group=choice, lists as 'key=[a,b]'"


@pytest.fixture
def sentence(compose_raw: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What a person is told about a command line."""

    def told(overrides: str) -> str:
        words = overrides.split(" ")
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        try:
            parse(compose_raw(*words))
        except ConfigError as error:
            return str(error)
        except Exception as error:
            said = of_hydra(error)
            return said or f"a traceback: {error!r}"
        return "accepted"

    return told


WRONG_VALUES = {
    "optim.lr=fast": "expected a number greater than 0",
    "optim.lr=-1": "expected a number greater than 0",
    "optim.lr=inf": "expected a finite number greater than 0",
    "optim.lr=nan": "expected a finite number greater than 0",
    "optim.lr=true": "expected a number greater than 0",
    "optim.lr=null": "expected a number greater than 0",
    "optim.weight_decay=-1": "expected a number of at least 0",
    "epochs=-3": "expected a whole number of at least 1",
    "epochs=0": "expected a whole number of at least 1",
    "epochs=1.5": "expected a whole number of at least 1",
    "seed=-1": "expected a whole number from 0 to 2147483647",
    "seed=true": "expected a whole number from 0 to 2147483647",
    "steps=0": "expected a whole number of at least 1 or null",
    "force=1": "expected true or false",
    "code=all": "expected one of same, any",
    "runs_dir=3": "expected text",
    "monitor=3": "expected keys with values",
    "monitor.window=0": "expected a whole number of at least 1",
    "trainer.devices=x": "expected a whole number of at least 1 or auto",
    "trainer.devices=0": "expected a whole number of at least 1 or auto",
    "trainer.devices=1.5": "expected a whole number of at least 1 or auto",
    "trainer.precision=64": "expected one of 32, bf16, 16, auto",
    "trainer.threads=0": "expected a whole number of at least 1 or null",
    "data.bands=3": "expected all, rgb or a list of band names",
    "data.image_size=4": "expected a whole number of at least 8 or null",
    "data.scale=0": "expected a number greater than 0",
    "data.offset=inf": "expected a finite number",
    "data.normalize=zscore": "expected one of auto, dataset, imagenet, minmax, percentile, none",
    "data.source=foo": "expected one of synthetic, torchgeo, folder, patternnet, so2sat, sat6, bigearthnet",
    "data.name=a/b": "expected a name of letters, digits, dots, dashes, underscores",
    "norm.name=bach": "expected one of native, none, batch, group, layer, instance",
    "model.kwargs=3": "expected keys with values",
    "aug.operations=3": "expected a list such as [{key: value}]",
}


@pytest.mark.parametrize(("override", "expected"), WRONG_VALUES.items())
def test_a_wrong_value_is_named_with_what_is_expected(
    sentence: Callable[[str], str], override: str, expected: str
) -> None:
    assert sentence(override) == f"{override}: {expected}"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("data.bands=[1,2]", "data.bands=[1, 2]: expected all, rgb or a list of band names"),
        ("data.bands={a:1}", "data.bands={a: 1}: expected all, rgb or a list of band names"),
        ("optim.betas=[0.9]", "optim.betas=[0.9]: expected a list of 2, each a number from 0 to less than 1"),
        ("optim.betas=[0.9,1,1]", "optim.betas=[0.9, 1, 1]: expected a list of 2, each a number from 0 to less than 1"),
        ("optim.betas=[0.9,x]", "optim.betas.1=x: expected a number from 0 to less than 1"),
        ("logger=wandb logger.tags=a", "logger.tags=a: expected a list such as [a, b]"),
        ("logger=wandb logger.tags=[1]", "logger.tags.0=1: expected text"),
        ("dropout=head dropout.p=1", "dropout.p=1: expected a number greater than 0 and less than 1 or null"),
        ("schedule=cosine schedule.warmup=3", "schedule.warmup=3: expected a number from 0 to 1"),
        ("stop=early stop.metric=f1", "stop.metric=f1: expected one of nll, accuracy"),
    ],
)
def test_a_wrong_value_in_a_list_or_in_a_choice_that_is_asked_for(
    sentence: Callable[[str], str], overrides: str, expected: str
) -> None:
    assert sentence(overrides) == expected


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ("[{op:flip,horizontal:2}]", "aug.operations.0.horizontal=2: expected a number from 0 to 1"),
        (
            "[{op:flip},{op:flip,horizontall:0.2}]",
            "aug.operations.1.horizontall: there is no such key (did you mean horizontal?);"
            " keys of aug.operations.1: op, horizontal, vertical",
        ),
        ("[{op:flop}]", "aug.operations.0.op=flop: expected one of flip, color"),
        ("[{horizontal:0.2}]", "aug.operations.0.op is missing: expected one of flip, color"),
        ("[flip]", "aug.operations.0=flip: expected keys with values, op being one of flip, color"),
    ],
)
def test_a_mistake_inside_an_augmentation(sentence: Callable[[str], str], operations: str, expected: str) -> None:
    # The list of operations grows from file to file; the sentence names all of them.
    told = sentence(f"aug.operations={operations}")
    assert told.startswith(expected)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("override", "start", "end"),
    [
        ("optim.lrr=1", "optim.lrr: there is no such key (did you mean lr?); keys of optim: ", "weight_decay_all"),
        ("++optim.lrr=1", "optim.lrr: there is no such key (did you mean lr?); keys of optim: ", "optimizer"),
        ("+optim.lrr=1", "optim.lrr: there is no such key (did you mean lr?); keys of optim: ", "optimizer"),
        ("optim.momentum=0.9", "optim.momentum: there is no such key; keys of optim: ", "weight_decay_all"),
        ("optim={lrr:1}", "optim.lrr: there is no such key (did you mean lr?); keys of optim: ", "weight_decay_all"),
        (
            "monitor.windw=1",
            "monitor.windw: there is no such key (did you mean window?); keys of monitor: ",
            "fraction",
        ),
        ("lr=1", "lr: there is no such key (did you mean optim.lr?); allowed: ", "robustness"),
        ("opti.lr=1", "opti.lr: there is no such key (did you mean optim?); allowed: ", "robustness"),
        ("modle=resnet18", "modle: there is no such key (did you mean model?); allowed: ", "robustness"),
        ("model.nam.x=3", "model.nam.x: there is no such key (did you mean name?); keys of model: ", "timm_name"),
        ("optim.lr.x=3", "optim.lr.x: there is no such key; optim.lr has no keys of its own", ""),
        ("+foo=3", "foo: there is no such key; allowed: ", "robustness"),
        ("~foo", "foo: there is no such key; allowed: ", "robustness"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_and_all_allowed(
    sentence: Callable[[str], str], override: str, start: str, end: str
) -> None:
    told = sentence(override)
    assert told.startswith(start)
    assert told.endswith(end)
    assert "\n" not in told


def test_keys_that_are_offered_are_those_of_the_choice_that_is_asked_for(sentence: Callable[[str], str]) -> None:
    assert "momentum" in sentence("optim=sgd optim.lrr=1")
    assert "momentum" not in sentence("optim=adamw optim.lrr=1")


OPTIMIZERS = "adam, adamw, momentum, nesterov, rmsprop, sam, sam_adamw, sgd, timm"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("norm=bach", "norm=bach: there is no such choice (did you mean batch?); allowed: batch, group, "),
        ("optim=", f"optim=: there is no such choice; allowed: {OPTIMIZERS}"),
        ("optim=3", f"optim=3: there is no such choice; allowed: {OPTIMIZERS}"),
        ("optim=null", f"optim=null: there is no such choice; allowed: {OPTIMIZERS}"),
        ("optim=[a]", f"optim=a: there is no such choice; allowed: {OPTIMIZERS}"),
        ("hydra/launcher=foo", "hydra/launcher=foo: there is no such choice; allowed: basic"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_allowed_ones(
    sentence: Callable[[str], str], override: str, expected: str
) -> None:
    assert sentence(override).startswith(expected)


REGULARIZERS = (
    "adversarial, consistency, ema, l1, l2_sp, prune, smooth_input_gradient, swa; a list of them, or [] for none"
)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("regularize=l2sp", f"regularize=l2sp: there is no such choice (did you mean l2_sp?); allowed: {REGULARIZERS}"),
        ("regularize=[l1,emma]",
         f"regularize=emma: there is no such choice (did you mean ema?); allowed: {REGULARIZERS}"),
        ("regularize=none", f"regularize=none: there is no such choice; allowed: {REGULARIZERS}"),
        ("regularize=null", f"regularize=null: there is no such choice; allowed: {REGULARIZERS}"),
        ("regularize=[l1,3]", f"regularize=3: there is no such choice; allowed: {REGULARIZERS}"),
        ("regularize=l1,ema", "regularize=l1,ema: one run takes one value; add -m for one run each, or write a list as"
         " 'regularize=[l1,ema]'"),
        ("regularize.l1.weight=1", "regularize.l1.weight: l1 is not chosen; add regularize=[l1]"),
        ("regularize=[ema] regularize.l1.weight=1", "regularize.l1.weight: l1 is not chosen; add regularize=[ema,l1]"),
        ("regularize=[ema,l1] regularize.l1.wight=1",
         "regularize.l1.wight: there is no such key (did you mean weight?); keys of regularize.l1: weight"),
        ("regularize=l1 +regularize.l1.wight=1",
         "regularize.l1.wight: there is no such key (did you mean weight?); keys of regularize.l1: weight"),
        ("regularize=l1 regularize.l1.weight=x", "regularize.l1.weight=x: expected a number of at least 0"),
        ("regularize=l1 regularize.l1.weight=null", "regularize.l1.weight=null: expected a number of at least 0"),
        ("regularize=l1 regularize.l1=3", "regularize.l1=3: expected keys with values"),
        ("regularize=l1 ~regularize.l1.weight",
         "regularize.l1.weight: a value is missing; expected a number of at least 0"),
        ("regularize=ema regularize.ema.decay=1", "regularize.ema.decay=1: expected a number from 0 to less than 1"),
        ("regularize=[l1] stop=3", "stop=3: there is no such choice; allowed: early, fitted, none"),
        ("regularize=l1 decay=3", "decay: there is no such key; allowed: "),
        ("regularize=ema decay=3", "decay: there is no such key (did you mean regularize.ema.decay?); allowed: "),
        ("regularize=[ema,l1]", "accepted"),
        ("regularize=[]", "accepted"),
    ],
)  # fmt: skip
def test_mistakes_in_a_group_that_takes_several_choices(
    sentence: Callable[[str], str], overrides: str, expected: str
) -> None:
    told = sentence(overrides)
    assert told.startswith(expected) if expected.endswith(": ") else told == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.lr", f"optim.lr: {NO_OVERRIDE}"),
        ("optim.lr==3", f"optim.lr==3: {NO_OVERRIDE}"),
        ("optim.lr=[1,2", f"optim.lr=[1,2: {NO_OVERRIDE}"),
        ("=3", f"=3: {NO_OVERRIDE}"),
        ("+optim.lr=3", "optim.lr: the key exists already; write optim.lr=... without the plus sign"),
        ("+aug=flip", "aug: the group has a choice already; write aug=... without the plus sign"),
        ("seed=0,1", "seed=0,1: one run takes one value; add -m for one run each, or write a list as 'seed=[0,1]'"),
        (
            "model.kwargs.depth=3",
            "model.kwargs.depth: a key of your own in model.kwargs needs a plus sign: +model.kwargs.depth=...",
        ),
        (
            "model.kwargs={depth:3}",
            "model.kwargs.depth: a key of your own in model.kwargs needs a plus sign: +model.kwargs.depth=...",
        ),
    ],
)
def test_bad_syntax_is_refused_with_the_right_one(sentence: Callable[[str], str], override: str, expected: str) -> None:
    assert sentence(override) == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("weights=file", "weights.path: a value is needed; give it as weights.path=..."),
        ("weights=run", "weights.run: a value is needed; give it as weights.run=..."),
        ("~optim.lr", "optim.lr: a value is missing; expected a number greater than 0"),
        ("data.subset_seed=${foo}", "data.subset_seed: Interpolation key 'foo' not found"),
        ("runs_dir=${oc.env:NO_SUCH_ONE}", "runs_dir: \"Environment variable 'NO_SUCH_ONE' not found\""),
    ],
)
def test_a_missing_value_is_refused_with_its_key(sentence: Callable[[str], str], overrides: str, expected: str) -> None:
    assert sentence(overrides) == expected


def test_each_of_several_mistakes_has_its_line(sentence: Callable[[str], str]) -> None:
    assert sentence("optim.lr=fast epochs=0").splitlines() == [
        "optim.lr=fast: expected a number greater than 0",
        "epochs=0: expected a whole number of at least 1",
    ]


def test_a_wrong_value_that_another_key_takes_over_is_told_once(sentence: Callable[[str], str]) -> None:
    assert sentence("data.size=x") == "data.size=x: expected a whole number of at least 16"  # native_size follows it
    assert sentence("data.subset_seed=x").startswith("data.subset_seed=x: ")


def test_a_free_argument_of_a_network_is_accepted(sentence: Callable[[str], str]) -> None:
    assert sentence("+model.kwargs.drop_path_rate=0.1") == "accepted"


def test_zero_is_a_seed_and_a_number_is_a_precision(sentence: Callable[[str], str]) -> None:
    assert sentence("seed=0") == "accepted"
    assert sentence("trainer.precision=32") == "accepted"
