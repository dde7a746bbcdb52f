"""A study ends in an answer: its files, its sentence in the terminal, and `study.smallest_effect`."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from fake_studies import Studies
from terrablate.study.answers import read_effects
from terrablate.study.outcome import Outcome

STUDY = ["-m", "data=synthetic", "model=small_cnn", "trainer=cpu", "study.name=s", "study.seeds=4"]
AUG = "study.factors={aug:[none,flip]}"


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studies:
    made = Studies(tmp_path, monkeypatch)
    made.judge = with_flips_better
    return made


def with_flips_better(words: Mapping[str, str]) -> float:
    noise = {"0": 0.001, "1": -0.002, "2": 0.0, "3": 0.003}[words["seed"]]
    return 0.6 + (0.02 + noise if words["aug"] == "flip" else 0.0)


def test_the_answer_is_written_and_said(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    assert studies(*STUDY, AUG) == 0
    folder = studies.folder / "studies" / "s"
    said = capsys.readouterr().out
    assert "answer        Compared with baseline over 4 seeds: aug=flip helps (+2." in said
    assert f"summary       {folder / 'summary.md'}" in said
    (effect,) = [each for each in read_effects(folder / "effects.csv") if each.kind == "comparison" and each.verdict]
    assert (effect.name, effect.verdict, effect.n, effect.smallest_effect) == ("aug=flip", "helps", 4, None)
    assert effect.estimate == pytest.approx(0.0205)
    assert "**Answer.** Compared with baseline" in (folder / "summary.md").read_text()
    assert r"\toprule" in (folder / "effects.tex").read_text()


def test_a_smallest_effect_decides_verdicts_and_trains_nothing_again(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = studies.folder / "studies" / "s"
    assert studies(*STUDY, AUG) == 0
    assert yaml.safe_load((folder / "study.yaml").read_text())["smallest_effect"] is None
    assert studies(*STUDY, AUG, "study.smallest_effect=0.05") == 0
    assert studies.trained == []  # it is no part of a run's identity
    assert yaml.safe_load((folder / "study.yaml").read_text())["smallest_effect"] == 0.05
    assert "aug=flip has no effect as large as 5.0 points" in capsys.readouterr().out
    (effect,) = [each for each in read_effects(folder / "effects.csv") if each.kind == "comparison" and each.verdict]
    assert (effect.verdict, effect.smallest_effect) == ("no relevant effect", 0.05)


@pytest.mark.parametrize("value", ["0", "-0.01", "little", ".inf"])
def test_a_smallest_effect_that_is_none_is_refused(
    studies: Studies, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert studies(*STUDY, AUG, f"study.smallest_effect={value}") == 2
    assert "study.smallest_effect=" in capsys.readouterr().err
    assert studies.trained == []


def test_a_study_with_failed_runs_has_an_answer_that_names_them(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(words: Mapping[str, str]) -> float | Outcome:
        if words["aug"] == "flip" and words["seed"] == "2":
            return Outcome(status=1, kind="failed", reason="the machine is on fire")
        return with_flips_better(words)

    studies.judge = failing
    assert studies(*STUDY, AUG) == 1
    assert "answer        Compared with baseline over 3 seeds: aug=flip helps" in capsys.readouterr().out
    summary = (studies.folder / "studies" / "s" / "summary.md").read_text()
    assert "1 of 8 runs do not count (1 failed): aug=flip seed 2 (failed)." in summary
    assert "| `aug=flip` | 2 | failed | the machine is on fire |" in summary


def test_a_grid_has_an_answer_too(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "data=synthetic", "model=small_cnn", "trainer=cpu", "study.name=g", "aug=none,flip", "seed=0,1,2"]
    assert studies(*words) == 0
    assert "Compared with aug=none over 3 seeds: aug=flip helps" in capsys.readouterr().out
    summary = (studies.folder / "studies" / "g" / "summary.md").read_text()
    assert "study.name=g aug=none,flip seed=0,1,2" in summary


def test_a_plan_alone_writes_no_answer(studies: Studies) -> None:
    assert studies(*STUDY, AUG, "study.plan_only=true") == 0
    assert not (studies.folder / "studies" / "s" / "summary.md").exists()
