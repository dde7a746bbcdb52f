"""Answers of studies whose figures were written down: effects, verdicts, sentences, warnings, files."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrablate.errors import UserError
from terrablate.study.answers import Answer, answer, read_effects, write_answer
from terrablate.study.effects import Effect
from terrablate.study.estimates import verdict_of
from terrablate.study.evidence import read_study
from written_studies import write_predictions, write_study


def figures(means: dict[str, float], spread: float = 0.004, seeds: int = 5) -> dict[str, list[float]]:
    """Around the means; of one spread, with a part that all variants of a seed share."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, spread, seeds)
    return {name: list(np.round(mean + shared + rng.normal(0, spread, seeds), 6)) for name, mean in means.items()}


def answered(folder: Path, found: Any, **options: Any) -> Answer:
    return answer(read_study(write_study(folder / "studies" / "s", found, **options)))


def primary(found: Answer) -> dict[str, Effect]:
    return {each.name: each for each in found.effects if each.role == "primary" and each.kind != "variant"}


def test_verdicts_follow_the_simultaneous_intervals(tmp_path: Path) -> None:
    found = answered(
        tmp_path, figures({"none": 0.7, "up": 0.75, "down": 0.65, "same": 0.7}, 0.002), smallest_effect=0.015
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
    first = answered(tmp_path, figures(more, 0.002), smallest_effect=0.02).sentences[0]
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
    found = answered(tmp_path, figures({"none": 0.7, "a": 0.701, "b": 0.703}, 0.01))
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
        tmp_path / "declared", figures({"none": 0.7, "a": 0.701, "b": 0.703}, 0.01), smallest_effect=0.01
    )
    assert "an effect of 1.0 point, the smallest of interest," in " ".join(declared.sentences)
    assert primary(declared)["a"].seeds_needed == primary(declared)["b"].seeds_needed  # not of what was seen


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    found = answered(tmp_path, figures({"none": 0.9, "a": 0.7}), metric="nll")
    assert primary(found)["a"].verdict == "helps"
    assert "a lowers val NLL by 0.2" in found.sentences[1]


def test_leaving_a_trick_out_is_told_as_what_the_trick_adds(tmp_path: Path) -> None:
    levels = {"all": {"x": "on", "y": "on"}, "without x": {"x": "off", "y": "on"}, "without y": {"x": "on", "y": "off"}}
    found = answered(
        tmp_path,
        figures({"all": 0.8, "without x": 0.7, "without y": 0.8}, 0.002),
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
    return figures(means, 0.002), levels


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
        figures(means, 0.002),
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
    peak = answered(tmp_path, figures(dict(zip(levels, (0.8, 0.7, 0.6, 0.7), strict=True))), **options)
    rows = [each for each in peak.effects if each.kind == "response"]
    assert [each.level for each in rows] == ["5", "20", "100", "1000"]
    assert [each.estimate for each in rows] == pytest.approx([0.6, 0.7, 0.8, 0.7], abs=0.02)
    assert any("is highest at 100, which differs from both ends" in sentence for sentence in peak.sentences)
    rises = answered(tmp_path / "r", figures(dict(zip(levels, (0.8, 0.7, 0.6, 0.9), strict=True))), **options)
    assert any("val accuracy rises from n=5 to 1000" in sentence for sentence in rises.sentences)
    flat = answered(tmp_path / "f", figures(dict.fromkeys(levels, 0.7)), **options)
    assert any("support no shape of val accuracy" in sentence for sentence in flat.sentences)
    words = answered(tmp_path / "w", figures({"x": 0.1, "y": 0.2, "z": 0.3}))
    assert not any(each.kind == "response" for each in words.effects)


def test_unequal_optimizer_steps_are_warned_of_with_their_numbers(tmp_path: Path) -> None:
    two = figures({"none": 0.7, "more": 0.8}, seeds=2)
    found = answered(tmp_path, two, records=True, steps={"none": 1000, "more": 1030})
    assert any("not trained for equally many optimizer steps: none 1,000 and more 1,030" in w for w in found.warnings)
    close = answered(tmp_path / "close", two, records=True, steps={"none": 1000, "more": 1015})
    assert not any("optimizer steps" in warning for warning in close.warnings)


def test_added_seeds_are_told_apart(tmp_path: Path) -> None:
    values = figures({"none": 0.7, "a": 0.72}, seeds=6)
    found = answered(tmp_path, values, added=(4, 5))
    effect = primary(found)["a"]
    assert effect.n == 4
    assert effect.estimate == pytest.approx(np.mean(values["a"][:4]) - np.mean(values["none"][:4]))
    (later,) = [e for e in found.effects if e.seeds == "all" and e.kind == "comparison" and e.metric == "accuracy"]
    assert (later.n, later.role) == (6, "exploratory")
    assert any("Adding seeds until an interval excludes zero misleads" in warning for warning in found.warnings)
    assert any(
        sentence.startswith("With 2 seeds added later, which is not the answer: a +") for sentence in found.sentences
    )


def test_onset_is_censored_where_there_is_none(tmp_path: Path) -> None:
    two = figures({"none": 0.7, "late": 0.7}, seeds=3)
    others: dict[str, Any] = {
        "overfitting.onset_epoch": {"none": [10, 12, 14], "late": [40, None, None]},
        "epochs": {"none": [60] * 3, "late": [60] * 3},
        "budget_epochs": {"none": [60] * 3, "late": [60] * 3},
    }
    found = answered(tmp_path, two, others=others)
    rows = {(each.name, each.metric, each.baseline): each for each in found.effects if each.kind == "onset"}
    assert rows["none", "onset_share", ""].estimate == 1
    assert rows["late", "onset_share", ""].estimate == pytest.approx(1 / 3)
    assert rows["late", "onset_restricted_mean", ""].estimate == pytest.approx(160 / 3)
    assert rows["late", "onset_restricted_mean", "none"].estimate == pytest.approx(160 / 3 - 12)
    assert "Runs with onset of overfitting: none 3/3 and late 1/3." in found.sentences
    helped = figures({"none": 0.7, "late": 0.75}, 0.002, seeds=3)
    early = {**others, "overfitting.onset_epoch": {"none": [10, 12, 14], "late": [40, 42, 47]}}
    assert (
        " and delays overfitting from epoch 12 to 43 on average (exploratory)."
        in (answered(tmp_path / "delayed", helped, others=early).sentences[0])
    )
    stopped = {**others, "epochs": {"none": [60] * 3, "late": [60, 20, 30]}}
    short = answered(tmp_path / "short", two, others=stopped)
    share = next(each for each in short.effects if (each.name, each.metric) == ("late", "onset_restricted_mean"))
    # after one censored at 20 and one at 30, an onset at 40 ends the curve of the run that is left
    assert share.estimate == pytest.approx(40)
    assert share.method == "kaplan-meier"


def test_what_the_intervals_cover_is_read_off_the_configs(tmp_path: Path) -> None:
    two = figures({"none": 0.7, "a": 0.72}, seeds=2)

    def covered(name: str, **data: Any) -> str:
        config = {"data": data} if data else None
        return answered(tmp_path / name, two, records=True, config=config).coverage[0]

    assert "the draw of the training subset: seed k draws it, the same for all variants" in covered("default")
    assert "training noise alone: all runs have data.subset_seed=7" in covered("f", train_per_class=9, subset_seed=7)
    assert "every run was trained on the whole train split" in covered("whole", train_per_class=None, subset_seed=7)


def test_val_images_are_drawn_by_group_where_groups_are_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = {"none": rng.random(200) < 0.7, "a": rng.random(200) < 0.75}
    right = {name: np.repeat(values, 4) for name, values in right.items()}  # four chips of each scene
    ids = [f"scene{number // 4:03}_{number % 4}.png" for number in range(800)]
    two = {name: [float(values.mean())] * 2 for name, values in right.items()}
    widths = {}
    for name, data in (("single", {}), ("group", {"split_by": "group", "group_pattern": r"scene(\d+)_"})):
        config = {"data": {"train_per_class": 50, "subset_seed": 0, **data}}
        study = write_study(tmp_path / name / "studies" / "s", two, records=True, config=config)
        for run in (tmp_path / name / "runs").iterdir():
            write_predictions(run, list(right[run.name.split("-")[0]]), ids)
        found = answer(read_study(study))
        effect = primary(found)["a"]
        assert effect.image_low is not None
        assert effect.image_high is not None
        assert effect.estimate is not None
        assert effect.image_low < effect.estimate < effect.image_high
        widths[name] = effect.image_high - effect.image_low
        words = "drawn by group (200 groups)" if name == "group" else "drawn one by one"
        assert words in found.coverage[-1]
    assert widths["group"] == pytest.approx(2 * widths["single"], rel=0.2)


def test_predictions_that_do_not_give_the_recorded_figure_are_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "studies" / "s", {"none": [0.5, 0.5], "a": [0.9, 0.75]}, records=True)
    for run in (tmp_path / "runs").iterdir():
        write_predictions(
            run, [True, True, False, False] if "none" in run.name else [True, True, True, False], list("abcd")
        )
    (tmp_path / "runs" / "none-s1" / "val_predictions.npz").write_bytes(b"PK\x03\x04 cut off")
    found = answer(read_study(study))
    assert any("a-s0/val_predictions.npz: gives accuracy 0.7500, the record 0.9000" in w for w in found.warnings)
    assert any("none-s1/val_predictions.npz: is damaged" in warning for warning in found.warnings)
    assert primary(found)["a"].image_low is None  # no seed has both


def test_the_test_split_stands_beside_val_where_it_was_opened(tmp_path: Path) -> None:
    values = figures({"none": 0.7, "a": 0.75}, seeds=3)
    study = write_study(tmp_path / "studies" / "s", values, records=True)
    for run in (tmp_path / "runs").iterdir():
        name, seed = run.name.split("-s")
        (run / "test.json").write_text(json.dumps({"split": "test", "accuracy": values[name][int(seed)] - 0.02}))
    (study / "test_openings.csv").write_text("time,study\n2026-01-01,s\n")
    found = answer(read_study(study))
    effect = primary(found)["a"]
    assert effect.test_estimate == pytest.approx(effect.estimate)
    assert effect.test_low == pytest.approx(effect.low)
    assert any(sentence.startswith("On the test split, opened once, the differences") for sentence in found.sentences)
    (study / "test_openings.csv").write_text("time,study,count\n2026-01-01,s,2\n2026-01-02,s,3\n")
    again = answer(read_study(study)).sentences
    assert any(sentence.startswith("On the test split, opened 3 times, the differences") for sentence in again)
    (study / "test_openings.csv").write_text("time,study,count\n2026-01-01,s,often\n")
    assert any("test_openings.csv: is damaged" in warning for warning in answer(read_study(study)).warnings)


def test_mixed_provenance_and_synthetic_data_are_warned_of(tmp_path: Path) -> None:
    two = figures({"none": 0.7, "a": 0.72}, seeds=2)
    others: dict[str, Any] = {
        "provenance.commit": {"none": ["1" * 40, "2" * 40], "a": ["1" * 40] * 2},
        "synthetic": {"none": ["true"] * 2, "a": ["true"] * 2},
    }
    warnings = answered(tmp_path, two, others=others).warnings
    assert "Runs are of 2 commits: 111111111111 (3 runs) and 222222222222 (1 run)." in warnings
    assert any("The data are synthetic" in warning for warning in warnings)


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    found = answered(tmp_path, figures({"none": 0.7, "a_b": 0.75, "c & d | e": 0.7}), smallest_effect=0.01)
    folder = tmp_path / "out"
    write_answer(found, folder)
    again = read_effects(folder / "effects.csv")
    assert [(e.kind, e.name, e.metric, e.verdict) for e in again] == [
        (e.kind, e.name, e.metric, e.verdict) for e in found.effects
    ]
    for one, other in zip(again, found.effects, strict=True):
        assert (one.n, one.role, one.higher_is_better) == (other.n, other.role, other.higher_is_better)
        assert one.low == (None if other.low is None else pytest.approx(other.low, rel=1e-8))
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("# s\n\n**Question.** Does it help?\n\n**Answer.** Compared with none")
    assert r"| `c & d \| e` |" in summary
    assert "Smallest effect of interest: 1.0 point." in summary
    assert "\npython src/train.py -m study=s model=small_cnn\n" in summary  # places are a machine's own
    latex = (folder / "effects.tex").read_text()
    assert r"a\_b & 5 & 0.7" in latex
    assert r"c \& d | e" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1


def test_a_table_of_effects_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_effects(tmp_path / "effects.csv")
    (tmp_path / "effects.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no table of effects"):
        read_effects(tmp_path / "effects.csv")
    (tmp_path / "effects.csv").write_text("kind,name,estimate\nvariant,a,much\n")
    with pytest.raises(UserError, match="line 2: the row is damaged"):
        read_effects(tmp_path / "effects.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the answer cannot be written"):
        write_answer(answered(tmp_path, {"a": [0.5], "b": [0.5]}), tmp_path / "file")
