"""Studies that cannot be answered, or only in part: each a sentence, never a traceback, and never a number made up."""

from pathlib import Path
from typing import Any

import pytest

from terrablate.study.answers import Answer, answer, write_answer
from terrablate.study.effects import Effect
from terrablate.study.evidence import read_study
from written_studies import write_study


def answered(folder: Path, figures: Any, **options: Any) -> Answer:
    study = write_study(folder / "studies" / "s", figures, **options)
    found = answer(read_study(study))
    write_answer(found, study)
    assert (study / "summary.md").read_text().count("nan") == 0
    return found


def compared(found: Answer) -> dict[str, Effect]:
    return {each.name: each for each in found.effects if each.kind == "comparison" and each.role == "primary"}


def test_one_variant(tmp_path: Path) -> None:
    found = answered(tmp_path, {"a": [0.7, 0.8, 0.75]})
    assert found.sentences[0].startswith("There is nothing to compare, as the study has one variant; val accuracy of a")
    assert "0.7500 over 3 seeds (95 % interval 0.62" in found.sentences[0]
    assert not compared(found)


def test_one_seed(tmp_path: Path) -> None:
    found = answered(tmp_path, {"a": [0.7], "b": [0.8], "c": [0.65]})
    assert found.sentences[0] == (
        "With 1 seed there is no interval, so that no difference of val accuracy can be told from noise; the largest"
        " that was seen is b +10.0 points."
    )
    assert all(each.low is None and each.verdict == "undecided" for each in compared(found).values())
    assert any("One seed gives no interval" in warning for warning in found.warnings)


def test_all_runs_failed_or_missing(tmp_path: Path) -> None:
    found = answered(tmp_path, {"a": ["failed", "diverged", None], "b": ["died", "out_of_memory", None]})
    assert found.sentences[0].startswith("There is no answer")
    assert found.warnings[0].startswith("6 of 6 runs do not count (2 missing, 1 failed, 1 died, 1 diverged")
    assert "b seed 1 (out of memory)" in found.warnings[0]
    assert compared(found)["b"].estimate is None


def test_runs_without_a_finite_figure_are_named(tmp_path: Path) -> None:
    nan = float("nan")
    found = answered(tmp_path, {"a": [0.7, 0.71, 0.72], "b": [nan, nan, nan], "c": [0.8, 0.815, float("inf")]})
    assert found.sentences[0].startswith("Compared with a over 2 seeds: c helps")
    assert "nothing can be said of b" in found.sentences[0]
    assert "4 no finite figure" in found.warnings[0]
    assert compared(found)["c"].n == 2


def test_unequal_seeds(tmp_path: Path) -> None:
    found = answered(tmp_path, {"a": [0.7, 0.71, 0.69, 0.7], "b": [0.8, 0.81, 0.8], "c": [0.7]})
    assert {name: each.n for name, each in compared(found).items()} == {"b": 3, "c": 1}
    assert any("Not all variants have 4 seeds: b and c have fewer" in warning for warning in found.warnings)


def test_a_variant_without_a_seed_of_the_baseline(tmp_path: Path) -> None:
    found = answered(tmp_path, {"a": [0.7, 0.7, None, None], "b": [None, None, 0.8, 0.9]})
    assert found.sentences[0].startswith("There is no answer: no two variants have complete runs of one seed")
    assert any("1 of 1 comparisons cannot be made" in warning for warning in found.warnings)


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [0.5, 0.6, 0.7]])
def test_perfect_ties_are_no_certainty(tmp_path: Path, values: list[float]) -> None:
    found = answered(tmp_path, {"a": values, "b": values, "c": [each + 0.05 for each in values]}, smallest_effect=0.01)
    assert found.sentences[0].startswith("Nothing is decided about val accuracy")
    assert {each.verdict for each in compared(found).values()} == {"undecided"}
    assert all(each.low is None for each in compared(found).values())
    assert compared(found)["b"].estimate == 0
    assert any("exactly the same difference in every seed" in warning for warning in found.warnings)


def test_diverged_runs_are_counted_and_named(tmp_path: Path) -> None:
    found = answered(tmp_path, {"a": [0.7, 0.71, 0.69], "b": [0.8, 0.81, "diverged"]})
    assert "1 of its 3 runs diverged and is in no mean" in found.sentences[1]
    assert any("a variant that diverges now and then is worse than its mean says" in w for w in found.warnings)
    assert compared(found)["b"].n == 2


def test_a_corrupt_record_among_good_ones(tmp_path: Path) -> None:
    study = write_study(tmp_path / "studies" / "s", {"a": [0.7, 0.71, 0.69], "b": [0.8, 0.81, 0.8]}, records=True)
    (tmp_path / "runs" / "b-s1" / "result.json").write_text("{")
    found = answer(read_study(study))
    assert compared(found)["b"].n == 2
    assert any("b-s1/result.json: is damaged; the run b seed 1 is left out" in warning for warning in found.warnings)
    assert "b seed 1 (corrupt)" in found.warnings[0]


def test_a_factorial_with_a_lost_variant_says_what_it_cannot(tmp_path: Path) -> None:
    levels = {f"{a}{b}": {"a": a, "b": b} for a in "01" for b in "01"}
    figures = {"00": [0.5, 0.51, 0.5], "01": [0.6, 0.62, 0.6], "10": [0.7, 0.71, 0.72], "11": ["failed"] * 3}
    found = answered(
        tmp_path, figures, levels=levels, design="factorial", factors={"a": ["0", "1"], "b": ["0", "1"]}, variants=None
    )
    assert found.sentences[0] == (
        "There is no answer: main effects are averages over all variants, and no run of 11 counts; single variants are"
        " compared in the tables."
    )
    single = [each for each in found.effects if each.kind == "comparison" and each.metric == "accuracy"]
    assert [each.estimate is not None for each in single if each.which == "deployed"] == [True, True, False]
