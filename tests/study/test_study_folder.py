"""A study's folder: what it takes for done, what it refuses, and its table."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from terrablate.errors import ConfigError, UserError
from terrablate.study.folder import StudyFolder
from terrablate.study.outcome import Outcome
from terrablate.study.plan import PlannedRun


def planned(variants: str = "ab", seeds: Sequence[int] = (0, 1)) -> list[PlannedRun]:
    return [PlannedRun(v, {"f": v}, s, (f"x={v}", f"seed={s}"), f"{v}{s}", {}) for s in seeds for v in variants]


def record(folder: Path, **content: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    result = {"status": "complete", "deployed": {"which": "last", "accuracy/val": 0.5}, "provenance": {"code": "c"}}
    (folder / "result.json").write_text(json.dumps(result | content))
    return str(folder)


def rows(folder: StudyFolder) -> list[dict[str, str]]:
    with (folder.folder / "runs.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "studies" / "s")


def test_the_table_has_a_row_a_run_from_the_start(folder: StudyFolder, tmp_path: Path) -> None:
    folder.settle({"question": "Is it?"}, planned())
    assert [(row["variant"], row["seed"], row["status"]) for row in rows(folder)] == [
        ("a", "0", "planned"), ("b", "0", "planned"), ("a", "1", "planned"), ("b", "1", "planned"),
    ]  # fmt: skip
    folder.add("b", 0, Outcome(0.5, folder=record(tmp_path / "r", overfitting={"gap_loss": 0.25, "onset_epoch": None})))
    folder.add("a", 1, Outcome(status=1, kind="died", reason="killed, SIGKILL"))
    found = {(row["variant"], row["seed"]): row for row in rows(folder)}
    assert found["b", "0"]["deployed.accuracy/val"] == "0.5"
    assert found["b", "0"]["overfitting.gap_loss"] == "0.25"
    assert found["b", "0"]["overfitting.onset_epoch"] == ""
    assert found["b", "0"]["level.f"] == "b"
    assert (found["a", "1"]["status"], found["a", "1"]["reason"]) == ("died", "killed, SIGKILL")
    assert [row["seed"] for row in rows(folder)] == ["0", "0", "1", "1"]  # the order of the plan
    folder.add("b", 0, Outcome(0.5, folder=str(tmp_path / "r")))
    assert len(rows(folder)) == 4  # nothing is counted twice


def test_a_run_that_gets_nothing_right_has_ended_like_any_other(folder: StudyFolder, tmp_path: Path) -> None:
    runs = planned()
    folder.settle({}, runs)
    folder.add("a", 0, Outcome(0.0, folder=record(tmp_path / "r")))
    assert rows(folder)[0]["status"] == "complete"
    assert set(folder.done(runs, None)) == {("a", 0)}


def test_done_is_what_is_whole_of_this_config_and_of_this_code(folder: StudyFolder, tmp_path: Path) -> None:
    runs = planned()
    folder.settle({}, runs)
    for number, run in enumerate(runs):
        folder.add(*run.key, Outcome(0.5, folder=record(tmp_path / str(number))))
    assert len(folder.done(runs, "c")) == 4
    assert folder.done(runs, "other code") == {}
    assert len(folder.done(runs, None)) == 4
    (tmp_path / "0" / "result.json").write_text('{"status": "comp')  # cut off
    record(tmp_path / "1", status="failed")
    (tmp_path / "2" / "result.json").unlink()
    assert set(folder.done(runs, "c")) == {runs[3].key}
    assert folder.done([replace(runs[3], digest="another config")], "c") == {}


def test_failed_runs_are_known_and_tried_again(folder: StudyFolder, tmp_path: Path) -> None:
    runs = planned()
    folder.settle({}, runs)
    folder.add("a", 0, Outcome(status=1, kind="failed", reason="x"))
    folder.add("b", 0, Outcome(status=1, kind="timed_out", reason="x"))
    folder.add("a", 1, Outcome(kind="diverged", folder=record(tmp_path / "d", status="diverged")))
    folder.add("b", 1, Outcome(status=130, kind="interrupted"))
    assert folder.failed(runs) == {("a", 0), ("b", 0)}
    assert set(folder.done(runs, "c")) == {("a", 1)}  # a diverged run is an observation


def test_seeds_and_levels_may_be_added_and_are_marked(folder: StudyFolder) -> None:
    folder.settle({}, planned())
    folder.add("a", 0, Outcome(0.5))
    assert not any(run.added for run in folder.settle({}, planned()))
    more = folder.settle({}, planned("abc", (0, 1, 2)))
    assert {run.key for run in more if run.added} == {("c", 0), ("c", 1), ("a", 2), ("b", 2), ("c", 2)}
    again = folder.settle({}, planned("abc", (0, 1, 2)))
    assert {run.key for run in again if run.added} == {run.key for run in more if run.added}
    assert [row["added"] for row in rows(folder) if row["variant"] == "c"] == ["true"] * 3


def test_two_studies_of_one_name_are_refused(folder: StudyFolder) -> None:
    folder.settle({}, planned())
    folder.add("a", 0, Outcome(0.5))
    with pytest.raises(ConfigError, match="was planned otherwise: 'b' with seed 0 is not in it any more"):
        folder.settle({}, planned("a"))
    with pytest.raises(ConfigError, match="'b' with seed 1 is another config in it"):
        folder.settle({}, [replace(run, digest="new") if run.key == ("b", 1) else run for run in planned()])
    assert len(rows(folder)) == 4


def test_a_plan_of_which_nothing_was_run_binds_nobody(folder: StudyFolder) -> None:
    folder.settle({}, planned())
    assert [run.added for run in folder.settle({}, planned("c"))] == [False, False]
    assert [row["variant"] for row in rows(folder)] == ["c", "c"]


def test_a_folder_that_cannot_be_written_or_a_damaged_plan_is_a_sentence(folder: StudyFolder, tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"studies_dir: .* cannot be written: "):
        folder.settle({}, planned())
    (tmp_path / "studies").unlink()
    folder.settle({}, planned())
    folder.add("a", 0, Outcome(0.5))
    (folder.folder / "plan.json").write_text("[{")
    with pytest.raises(UserError, match=r"plan\.json: is damaged; remove it, and the plan is made anew"):
        folder.settle({}, planned())


def test_an_outcome_travels_through_json_and_pickle() -> None:
    import pickle

    outcome = Outcome(0.25, status=1, kind="timed_out", folder="f", reason="r", seconds=2.0)
    for copy in (Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))), pickle.loads(pickle.dumps(outcome))):
        assert (float(copy), vars(copy)) == (0.25, vars(outcome))
    nothing = Outcome.from_dict(json.loads(json.dumps(Outcome().to_dict())))
    assert nothing != nothing
