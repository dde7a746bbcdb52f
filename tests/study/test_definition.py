"""What a person writes as a study, and what is made of it."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from pydantic import TypeAdapter

from terrablate.config.schema import Study
from terrablate.errors import ConfigError
from terrablate.study.definition import design_of, factor, grid, grid_design, label_of, override, quoted, seeds_of


def study(**keys: Any) -> Study:
    return TypeAdapter(Study).validate_python({"name": "s", **keys})


def test_levels_of_a_group_of_a_key_and_of_several_keys() -> None:
    assert factor("aug", ["none", "flip"]).levels == {"none": ("aug=none",), "flip": ("aug=flip",)}
    assert factor("data.train_per_class", [50, 200]).levels["200"] == ("data.train_per_class=200",)
    assert factor("optim.lr", [0.001, 1e-5]).levels["1e-05"] == ("optim.lr=1e-05",)
    assert factor("regularize", [[], ["l1", "ema"]]).levels == {
        "none": ("regularize=[]",),
        "l1+ema": ("regularize=[l1,ema]",),
    }
    tricks = factor("tricks", {"without": [], "with": ["aug=flip", "dropout=head"], "one": "aug=flip"})
    assert tricks.levels == {"without": (), "with": ("aug=flip", "dropout=head"), "one": ("aug=flip",)}
    assert factor("dropout", {"off": "native", "on": "head"}).levels["on"] == ("dropout=head",)


@pytest.mark.parametrize(
    "value", ["plain", "two words", "it's", "a,b=c", "back\\slash'", "[x]", True, None, 3, 0.5, [1, "b c"]]
)
def test_overrides_say_the_value_in_the_grammar_of_hydra(value: Any) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([override("key", value)])
    assert parsed.value() == value
    assert not parsed.is_sweep_override()


def test_quoted_text_survives() -> None:
    for text in ("aug=flip, dropout=head", "o'clock", "x\\", "ends with \\'"):
        (parsed,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
        assert parsed.value() == text


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "study.factors: study.design=one_at_a_time needs at least one"),
        ({"factors": {"aug": ["none"]}}, "study.factors.aug: a factor needs two levels or more"),
        ({"factors": {"aug": ["none", "none"]}}, "study.factors.aug: the level none is there twice"),
        ({"factors": {"a b": [1, 2]}}, "study.factors.a b: not a name of a factor"),
        ({"factors": {"aug": {"x": ["flip"], "y": []}}}, "study.factors.aug.x: 'flip' is not an override"),
        ({"factors": {"aug": {"x": ["seed=3"], "y": []}}}, "study.factors.aug.x: seeds are given by study.seeds"),
        ({"factors": {"aug": [1, 2]}, "baseline": {"aug": 3}}, "study.baseline.aug=3: there is no such level"),
        ({"factors": {"aug": [1, 2]}, "baseline": {"agu": 1}}, "study.baseline.agu: there is no such factor"),
        ({"factors": {"aug": [1, 2]}, "baseline": "x"}, "study.baseline=x: expected levels by factor"),
        ({"factors": {"aug": [1, 2]}, "variants": {"a": [], "b": []}}, "study.variants: belong to study.design=list"),
        ({"design": "list"}, "study.variants: study.design=list needs two or more"),
        ({"design": "list", "variants": {"a": [], "b": ["aug"]}}, "study.variants.b: 'aug' is not an override"),
        ({"design": "list", "variants": {"a": [], "b": []}, "baseline": "c"}, "study.baseline=c: expected one of"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        design_of(study(**keys))
    assert str(refused.value).startswith(sentence)


def test_the_baseline_may_be_another_level_than_the_first() -> None:
    design = design_of(study(factors={"aug": ["none", "flip", "all"]}, baseline={"aug": "flip"}))
    assert [variant.overrides for variant in design.variants] == [("aug=flip",), ("aug=none",), ("aug=all",)]
    listed = design_of(study(design="list", variants={"a": [], "b": ["x=1"]}, baseline="b"))
    assert [variant.name for variant in listed.variants] == ["b", "a"]


def test_seeds_are_counted_or_listed() -> None:
    assert seeds_of(study(seeds=3)) == [0, 1, 2]
    assert seeds_of(study(seeds=[7, 3])) == [7, 3]
    with pytest.raises(ConfigError, match="a seed is there twice"):
        seeds_of(study(seeds=[1, 1]))


def parsed(*words: str) -> list[Any]:
    return OverridesParser.create().parse_overrides(list(words))


def test_a_grid_is_a_factorial_of_what_has_commas() -> None:
    factors, others, seeds = grid(
        parsed("model=lenet,mlp", "epochs=3", "seed=0,1", "aug=none,flip", "optim.lr=choice(0.1)")
    )
    assert ([each.name for each in factors], others, seeds) == (["model", "aug"], ["epochs=3", "optim.lr=0.1"], [0, 1])
    design = grid_design(factors)
    assert [variant.name for variant in design.variants] == [
        "model=lenet, aug=none", "model=lenet, aug=flip", "model=mlp, aug=none", "model=mlp, aug=flip",
    ]  # fmt: skip
    assert design.variants[1].overrides == ("model=lenet", "aug=flip")


def test_a_grid_of_seeds_alone_is_one_variant() -> None:
    factors, _, seeds = grid(parsed("seed=range(3)"))
    assert seeds == [0, 1, 2]
    assert [variant.name for variant in grid_design(factors).variants] == ["run"]
    with pytest.raises(ConfigError, match="seed=-1: expected a whole number, 0 or more"):
        grid(parsed("seed=0,-1"))
    with pytest.raises(ConfigError, match="aug: the value flip is there twice"):
        grid(parsed("aug=flip,flip"))


def test_labels_are_short() -> None:
    assert [label_of(value) for value in (True, None, 0.5, ["a", "b"], [])] == ["true", "null", "0.5", "a+b", "none"]
