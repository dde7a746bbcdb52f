"""What the keys of a study change, shown on whole studies whose runs leave records and were never trained."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from fake_studies import Studies
from terrablate.study.outcome import Outcome

STUDY = ["-m", "data=synthetic", "model=small_cnn", "trainer=cpu", "study.name=s", "study.seeds=2"]
AUG = "study.factors={aug:[none,flip]}"
TUNE = "study.tune={optim.lr:[0.01,0.1]}"


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studies:
    return Studies(tmp_path, monkeypatch)


def rates(runs: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(run["aug"], run["optim.lr"]) for run in runs if int(run["seed"]) < 1_000_000}


def tuning(runs: list[dict[str, str]]) -> list[dict[str, str]]:
    return [run for run in runs if int(run["seed"]) >= 1_000_000]


def with_flip_the_larger_rate(words: Mapping[str, str]) -> float:
    """Val accuracy: large rates are good with flips, small ones without."""
    return 0.6 if (words["aug"] == "flip") == (words.get("optim.lr") == "0.1") else 0.4


def test_tuning_finds_the_better_rate_of_each_variant_on_seeds_of_its_own(studies: Studies) -> None:
    studies.judge = with_flip_the_larger_rate
    assert studies(*STUDY, AUG, TUNE) == 0
    assert len(tuning(studies.trained)) == 4
    assert {run["seed"] for run in tuning(studies.trained)} == {"1000000"}
    assert rates(studies.trained) == {("none", "0.01"), ("flip", "0.1")}
    assert {(row["variant"], row["tuned.optim.lr"]) for row in studies.rows("s")} == {
        ("baseline", "0.01"),
        ("aug=flip", "0.1"),
    }
    assert [row["seed"] for row in studies.rows("s")] == ["0", "0", "1", "1"]  # no tuning run among the compared
    listed = [(r["variant"], r["seed"], r["deployed.accuracy/val"]) for r in studies.rows("s", "tuning.csv")]
    assert listed == [
        ("baseline [optim.lr=0.01]", "1000000", "0.6"),
        ("baseline [optim.lr=0.1]", "1000000", "0.4"),
        ("aug=flip [optim.lr=0.01]", "1000000", "0.4"),
        ("aug=flip [optim.lr=0.1]", "1000000", "0.6"),
    ]


def test_without_tuning_nothing_is_tuned(studies: Studies) -> None:
    assert studies(*STUDY, AUG) == 0
    assert all("optim.lr" not in run for run in studies.trained)
    assert not (studies.folder / "studies/s/tuning.csv").exists()


def test_a_second_start_hands_out_no_tuning_run_and_chooses_the_same(studies: Studies) -> None:
    studies.judge = with_flip_the_larger_rate
    assert studies(*STUDY, AUG, TUNE) == 0
    assert studies(*STUDY, AUG, TUNE) == 0
    assert studies.asked_for == []
    assert studies(*STUDY, AUG, TUNE, "study.seeds=3") == 0
    assert rates(studies.asked_for) == {("none", "0.01"), ("flip", "0.1")}
    assert [run["seed"] for run in studies.asked_for] == ["2", "2"]
    assert [row["added"] for row in studies.rows("s")] == 4 * ["false"] + 2 * ["true"]


def test_more_tuning_seeds_are_averaged(studies: Studies) -> None:
    scores = {("0.01", "1000000"): 0.6, ("0.01", "1000001"): 0.1, ("0.1", "1000000"): 0.5, ("0.1", "1000001"): 0.5}
    studies.judge = lambda words: scores.get((words.get("optim.lr", ""), words["seed"]), 0.5)
    assert studies(*STUDY, AUG, TUNE, "study.tune_seeds=2") == 0
    assert {rate for _, rate in rates(studies.trained)} == {"0.1"}
    assert {run["seed"] for run in tuning(studies.trained)} == {"1000000", "1000001"}


@pytest.mark.parametrize(("metric", "better"), [("accuracy", "0.1"), ("nll", "0.01")])
def test_tuning_follows_the_primary_metric(studies: Studies, metric: str, better: str) -> None:
    studies.judge = lambda words: float(words["optim.lr"])  # accuracy and nll of the fake record alike
    assert studies(*STUDY, AUG, TUNE, f"study.metric={metric}") == 0
    assert {rate for _, rate in rates(studies.trained)} == {better}


def test_a_failed_tuning_run_is_tried_again_before_anything_is_compared(
    studies: Studies, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else a later success could change what was chosen after the comparison has begun."""
    failing = {"0.1"}
    studies.judge = lambda words: (
        Outcome(status=1, kind="died", reason="killed") if words.get("optim.lr") in failing else 0.5
    )
    assert studies(*STUDY, AUG, TUNE) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: study.tune: 2 of 4 runs failed, the first being ")
    assert rates(studies.trained) == set()
    assert studies(*STUDY, AUG, TUNE, "study.retry=false") == 1
    assert len(tuning(studies.asked_for)) == 0
    assert rates(studies.asked_for) == {("none", "0.01"), ("flip", "0.01")}


def test_retry_false_leaves_failed_runs_as_they_are(studies: Studies) -> None:
    studies.judge = lambda words: (
        Outcome(status=1, kind="failed", reason="x") if words["aug"] == "flip" and words["seed"] == "1" else 0.5
    )
    assert studies(*STUDY, AUG) == 1
    assert studies(*STUDY, AUG, "study.retry=false") == 1
    assert studies.asked_for == []
    studies.judge = lambda words: 0.5
    assert studies(*STUDY, AUG) == 0
    assert [(run["aug"], run["seed"]) for run in studies.asked_for] == [("flip", "1")]
    assert {row["status"] for row in studies.rows("s")} == {"complete"}


def test_force_trains_what_is_done(studies: Studies) -> None:
    assert studies(*STUDY, AUG) == 0
    assert studies(*STUDY, AUG) == 0
    assert len(studies.trained) == 0
    assert studies(*STUDY, AUG, "force=true") == 0
    assert len(studies.trained) == 4


def test_code_any_takes_records_of_other_code(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    assert studies(*STUDY, AUG) == 0
    monkeypatch.setattr("terrablate.study.sweep.code_identity", lambda: "the code of tomorrow")
    assert studies(*STUDY, AUG, "code=any") == 0
    assert len(studies.asked_for) == 0
    assert studies(*STUDY, AUG) == 0
    assert len(studies.asked_for) == 4


@pytest.mark.parametrize(("seeds", "expected"), [("2", ["0", "1"]), ("[7,3]", ["7", "3"]), ("[0]", ["0"])])
def test_seeds_are_those_that_are_asked_for(studies: Studies, seeds: str, expected: list[str]) -> None:
    assert studies(*STUDY, AUG, f"study.seeds={seeds}") == 0
    assert list(dict.fromkeys(run["seed"] for run in studies.trained)) == expected


def test_metric_and_deployed_epoch_are_those_of_the_summary(
    studies: Studies, capfd: pytest.CaptureFixture[str]
) -> None:
    studies.judge = lambda words: 0.7
    studies.best = 0.9
    for given, said in (
        ([], "median val accuracy 0.7000"),
        (["study.deployed=best"], "median val accuracy 0.9000"),
        (["study.metric=nll"], "median val nll 0.7000"),
    ):
        assert studies(*STUDY, AUG, *given) == 0
        assert f"baseline: {said} of 2 seeds" in capfd.readouterr().out


def test_keep_and_deployed_do_not_make_other_runs(studies: Studies) -> None:
    assert studies(*STUDY, AUG) == 0
    assert {run["study.keep"] for run in studies.asked_for} == {"both"}
    assert studies(*STUDY, AUG, "study.keep=best", "study.deployed=best", "study.metric=nll") == 0
    assert studies.asked_for == []
    assert studies(*STUDY, AUG, "study.keep=best", "study.seeds=3") == 0
    assert {run["study.keep"] for run in studies.asked_for} == {"best"}


def test_a_plan_only_is_shown_and_nothing_is_written(studies: Studies, capfd: pytest.CaptureFixture[str]) -> None:
    assert studies(*STUDY, AUG, TUNE, "study.plan_only=true") == 0
    said = capfd.readouterr().err
    assert "2 variants x 2 seeds = 4 runs, 0 of them done" in said
    assert "before: 4 runs that tune optim.lr" in said
    assert list(studies.folder.iterdir()) == []
    assert studies(*STUDY, AUG, TUNE) == 0
    capfd.readouterr()
    assert studies(*STUDY, AUG, TUNE, "study.plan_only=true") == 0
    assert "2 variants x 2 seeds = 4 runs, 4 of them done" in capfd.readouterr().err


def test_a_plan_says_how_long_the_rest_takes_once_there_are_runs(
    studies: Studies, capfd: pytest.CaptureFixture[str]
) -> None:
    studies.seconds = lambda words: 100.0 if words["aug"] == "flip" else 40.0
    assert studies(*STUDY, AUG, "study.plan_only=true") == 0
    assert "one after the other" not in capfd.readouterr().err
    assert studies(*STUDY, AUG) == 0
    capfd.readouterr()
    assert studies(*STUDY, AUG, "study.plan_only=true") == 0
    assert "one after the other" not in capfd.readouterr().err  # none is left
    assert studies(*STUDY, AUG, "study.seeds=5", "study.plan_only=true") == 0
    assert "about 7 min for the runs that are left" in capfd.readouterr().err  # 3 x 100 s and 3 x 40 s
    more = "study.factors={aug:[none,flip,all]}"
    assert studies(*STUDY, more, "study.plan_only=true") == 0
    assert "about 2 min for the runs that are left" in capfd.readouterr().err  # 2 x 70 s: between the two known ones


def test_the_command_that_made_a_study_is_written_down(studies: Studies) -> None:
    words = [*STUDY[1:], "study.factors={aug:[none,'flip']}", "optim.lr=0.1"]
    assert studies("-m", *words) == 0
    written = yaml.safe_load((studies.folder / "studies/s/study.yaml").read_text())["command"]
    assert [word for word in written if "_dir=" not in word] == words
    told = (studies.folder / "studies/s/summary.md").read_text()
    assert shlex.join(["python", "src/train.py", "-m", *words]) in told


def test_wrong_labels_of_different_shares_are_different_variants(studies: Studies) -> None:
    assert studies(*STUDY, "study.factors={data.label_noise:[0,0.1,0.2]}") == 0
    assert len({run["data.label_noise"] for run in studies.trained}) == 3


def test_levels_may_be_called_by_numbers(studies: Studies) -> None:
    assert studies(*STUDY, "study.factors={dropout:{0:['dropout=none'],0.5:['dropout=head']}}") == 0
    assert {row["level.dropout"] for row in studies.rows("s")} == {"0", "0.5"}


def test_a_second_study_takes_the_runs_that_it_shares_with_the_first(studies: Studies) -> None:
    assert studies(*STUDY, AUG) == 0
    assert studies(*STUDY, "study.factors={aug:[none,all]}", "study.name=other") == 0
    assert {run["aug"] for run in studies.trained} == {"all"}
    first, second = studies.rows("s"), studies.rows("other")
    shared = {row["folder"] for row in first} & {row["folder"] for row in second}
    assert shared == {row["folder"] for row in first if row["variant"] == "baseline"}
