"""Answers of studies whose figures were written down: effects, verdicts, and the sentences of each design."""

import itertools
from pathlib import Path

import pytest

from terrablate.study.estimates import verdict_of
from written_studies import answered, figures_around, primary


def test_verdicts_follow_the_simultaneous_intervals(tmp_path: Path) -> None:
    found = answered(
        tmp_path, figures_around({"none": 0.7, "up": 0.75, "down": 0.65, "same": 0.7}, 0.002), smallest_effect=0.015
    )
    effects = primary(found)
    assert {name: each.verdict for name, each in effects.items()} == {
        "up": "helps", "down": "hurts", "same": "no relevant effect",
    }  # fmt: skip
    for each in effects.values():
        assert each.low is not None
        assert each.low_single is not None
        assert each.high is not None
        assert each.high_single is not None
        assert each.low < each.low_single < each.high_single < each.high
        assert (each.n, each.method, each.baseline, each.smallest_effect) == (5, "block+dunnett", "none", 0.015)
    first = found.sentences[0]
    assert first.startswith("Compared with none over 5 seeds: up helps (+4.8 points of val accuracy")
    assert "down hurts (-" in first
    assert first.endswith("same has no effect as large as 1.5 points.")


def test_the_answer_stays_short_however_many_variants_there_are(tmp_path: Path) -> None:
    many = {"none": 0.6} | {f"up{number}": 0.7 + number / 100 for number in range(7)}
    more = many | {f"down{number}": 0.5 for number in range(3)} | {f"same{number}": 0.6 for number in range(9)}
    first = answered(tmp_path, figures_around(more, 0.002), smallest_effect=0.02).sentences[0]
    assert "up6 helps (+1" in first  # the largest first, with all the words; the others with their numbers
    assert first.count("simultaneous interval") == 1
    assert "; 3 more help; " in first
    assert first.count(" hurts (") == 3
    assert "same0, same1, same2, same3 and 5 more have no effect as large as 2.0 points." in first
    assert len(first) < 700


@pytest.mark.parametrize(
    ("low", "high", "smallest", "higher", "expected"),
    [
        (0.1, 0.3, None, True, "helps"),
        (0.1, 0.3, None, False, "hurts"),
        (-0.3, -0.1, None, True, "hurts"),
        (-0.3, -0.1, 0.05, False, "helps"),
        (-0.1, 0.3, None, True, "undecided"),
        (-0.1, 0.1, None, True, "undecided"),
        (-0.1, 0.1, 0.2, True, "no relevant effect"),
        (0.05, 0.1, 0.2, True, "no relevant effect"),
        (-0.1, 0.2, 0.2, True, "undecided"),
        (None, None, 0.2, True, "undecided"),
    ],
)
def test_a_verdict(low: float, high: float, smallest: float, higher: bool, expected: str) -> None:
    assert verdict_of(low, high, smallest, higher_is_better=higher) == expected


def test_undecided_says_what_would_decide_and_never_that_there_is_no_effect(tmp_path: Path) -> None:
    found = answered(tmp_path, figures_around({"none": 0.7, "a": 0.701, "b": 0.703}, 0.01))
    text = " ".join(found.sentences)
    assert "no effect" not in text.replace("does not mean no effect", "")
    assert "seeds would be needed" in text
    assert "with 80 % power" in text
    assert "Undecided does not mean no effect" in text
    assert found.sentences[0].startswith("Over 5 seeds the study does not decide any of the 2 differences")
    effect = primary(found)["b"]
    assert effect.detectable is not None
    assert effect.high is not None
    assert effect.estimate is not None
    assert effect.detectable > effect.high - effect.estimate
    declared = answered(
        tmp_path / "declared", figures_around({"none": 0.7, "a": 0.701, "b": 0.703}, 0.01), smallest_effect=0.01
    )
    assert "an effect of 1.0 point, the smallest of interest," in " ".join(declared.sentences)
    assert primary(declared)["a"].seeds_needed == primary(declared)["b"].seeds_needed  # not of what was seen


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    found = answered(tmp_path, figures_around({"none": 0.9, "a": 0.7}), metric="nll")
    assert primary(found)["a"].verdict == "helps"
    assert "a lowers val NLL by 0.2" in found.sentences[1]


def test_leaving_a_trick_out_is_told_as_what_the_trick_adds(tmp_path: Path) -> None:
    levels = {"all": {"x": "on", "y": "on"}, "without x": {"x": "off", "y": "on"}, "without y": {"x": "on", "y": "off"}}
    found = answered(
        tmp_path,
        figures_around({"all": 0.8, "without x": 0.7, "without y": 0.8}, 0.002),
        levels=levels,
        design="leave_one_out",
        factors={"x": ["off", "on"], "y": ["off", "on"]},
        variants=None,
        smallest_effect=0.02,
    )
    assert primary(found)["without x"].verdict == "hurts"
    assert "leaving x out lowers val accuracy by 10." in found.sentences[1]
    assert "so that x helps beside the others" in found.sentences[1]
    assert "so that y adds nothing relevant to the others" in found.sentences[2]


def factorial(effect_of_both: float) -> tuple[dict[str, list[float]], dict[str, dict[str, str]]]:
    levels = {f"a={a}, b={b}": {"a": a, "b": b} for a, b in itertools.product(("0", "1"), ("0", "1"))}
    means = {
        name: 0.6 + 0.1 * (own["a"] == "1") + effect_of_both * (own["a"] == own["b"] == "1")
        for name, own in levels.items()
    }
    return figures_around(means, 0.002), levels


def test_a_factorial_has_main_effects_as_its_family_and_interactions_beside(tmp_path: Path) -> None:
    found_figures, levels = factorial(0.04)
    options = {"levels": levels, "factors": {"a": ["0", "1"], "b": ["0", "1"]}, "variants": None}
    found = answered(tmp_path, found_figures, design="factorial", **options)
    effects = primary(found)
    assert set(effects) == {"a=1", "b=1"}
    assert effects["a=1"].kind == "main_effect"
    assert effects["a=1"].estimate == pytest.approx(0.12, abs=0.004)
    assert effects["b=1"].estimate == pytest.approx(0.02, abs=0.004)
    (both,) = [each for each in found.effects if each.kind == "interaction" and each.metric == "accuracy"]
    assert both.estimate == pytest.approx(0.02, abs=0.004)
    assert (both.role, both.verdict) == ("exploratory", "")
    assert any("the pointwise interval of a=1:b=1" in sentence for sentence in found.sentences)
    grid = answered(tmp_path / "grid", found_figures, levels=levels, variants=None)
    assert set(primary(grid)) == {"a=1", "b=1"}  # a sweep with commas is a factorial, too


def test_a_fraction_names_its_chains(tmp_path: Path) -> None:
    from terrablate.study.designs import Factor
    from terrablate.study.designs import fractional as fraction

    names = "abcd"
    design = fraction([Factor(name, {"off": (), "on": (f"{name}=1",)}) for name in names])
    levels = {variant.name: dict(variant.levels) for variant in design.variants}
    means = {name: 0.6 + 0.1 * (own["a"] == "on") for name, own in levels.items()}
    found = answered(
        tmp_path,
        figures_around(means, 0.002),
        levels=levels,
        design="fractional",
        factors={name: ["off", "on"] for name in names},
        variants=None,
        aliases=[list(chain) for chain in design.aliases],
        resolution=4,
    )
    assert set(primary(found)) == {f"{name}=on" for name in names}
    assert primary(found)["a=on"].estimate == pytest.approx(0.1, abs=0.004)
    chains = {each.name for each in found.effects if each.kind == "alias_chain"}
    assert chains == {"a:b = c:d", "a:c = b:d", "a:d = b:c"}
    assert any("cannot be told apart" in sentence for sentence in found.sentences)


def test_a_factor_of_numbers_has_a_curve_in_their_order(tmp_path: Path) -> None:
    levels = {f"n={n}": {"n": n} for n in ("100", "20", "5", "1000")}
    options = {"levels": levels, "design": "one_at_a_time", "factors": {"n": []}, "variants": None}
    peak = answered(tmp_path, figures_around(dict(zip(levels, (0.8, 0.7, 0.6, 0.7), strict=True))), **options)
    rows = [each for each in peak.effects if each.kind == "response"]
    assert [each.level for each in rows] == ["5", "20", "100", "1000"]
    assert [each.estimate for each in rows] == pytest.approx([0.6, 0.7, 0.8, 0.7], abs=0.02)
    assert any("is highest at 100, which differs from both ends" in sentence for sentence in peak.sentences)
    rises = answered(tmp_path / "r", figures_around(dict(zip(levels, (0.8, 0.7, 0.6, 0.9), strict=True))), **options)
    assert any("val accuracy rises from n=5 to 1000" in sentence for sentence in rises.sentences)
    flat = answered(tmp_path / "f", figures_around(dict.fromkeys(levels, 0.7)), **options)
    assert any("support no shape of val accuracy" in sentence for sentence in flat.sentences)
    words = answered(tmp_path / "w", figures_around({"x": 0.1, "y": 0.2, "z": 0.3}))
    assert not any(each.kind == "response" for each in words.effects)
