"""What is read of a study: whole, moved, and with damaged files among good ones."""

import json
import shutil
from pathlib import Path

import pytest

from terrablate.errors import UserError
from terrablate.study.evidence import GRID, read_runs, read_study
from written_studies import write_record, write_study

FIGURES = {"none": [0.70, 0.72, 0.71], "flip": [0.75, "failed", None]}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "studies" / "s", FIGURES, records=True, smallest_effect=0.01, added=(2,))


def test_every_planned_run_is_there_whatever_became_of_it(study: Path) -> None:
    evidence = read_study(study)
    assert (evidence.name, evidence.question, evidence.design) == ("s", "Does it help?", "list")
    assert (evidence.metric, evidence.which, evidence.smallest_effect) == ("accuracy", "deployed", 0.01)
    assert [variant.name for variant in evidence.variants] == ["none", "flip"]
    assert evidence.baseline.levels == {"variant": "none"}
    assert evidence.planned_seeds == (0, 1)
    assert [(run.variant, run.seed, run.status, run.added) for run in evidence.runs] == [
        ("none", 0, "complete", False), ("flip", 0, "complete", False), ("none", 1, "complete", False),
        ("flip", 1, "failed", False), ("none", 2, "complete", True), ("flip", 2, "missing", True),
    ]  # fmt: skip
    first = evidence.runs[0]
    assert first.values["deployed.accuracy/val"] == 0.7
    assert first.values["steps"] == 100
    assert first.texts["deployed.which"] == "last"
    assert first.config["data"]["train_per_class"] == 50
    assert evidence.runs[3].reason == "so it goes"
    assert evidence.problems == ()


def test_a_study_that_was_moved_with_its_runs_finds_them(study: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "studies", tmp_path / "elsewhere" / "studies")
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere" / "runs")
    evidence = read_study(tmp_path / "elsewhere" / "studies" / "s")
    assert evidence.runs[0].folder == tmp_path / "elsewhere" / "runs" / "none-s0"
    shutil.rmtree(tmp_path / "elsewhere" / "runs")
    alone = read_study(tmp_path / "elsewhere" / "studies" / "s")
    assert alone.runs[0].folder is None
    assert alone.runs[0].values["deployed.accuracy/val"] == 0.7  # as runs.csv has it


def test_a_damaged_record_among_good_ones_is_named_and_left_out(study: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "none-s1" / "result.json").write_text('{"status": "comp')
    (tmp_path / "runs" / "none-s0" / "metrics.csv").write_text("epoch,step\n1,many\n")
    (tmp_path / "runs" / "flip-s0" / "config.yaml").write_text("a: [")
    (tmp_path / "runs" / "none-s2" / "test.json").write_text("[")
    evidence = read_study(study)
    assert evidence.runs[2].status == "corrupt"
    assert not evidence.runs[2].values
    assert evidence.runs[0].values["deployed.accuracy/val"] == 0.7
    assert evidence.problems == (
        "none-s0/metrics.csv: is damaged; its optimizer steps are not known",
        "flip-s0/config.yaml: is damaged, and is left out",
        "none-s1/result.json: is damaged; the run none seed 1 is left out",
        "none-s2/test.json: is damaged, and is left out",
    )


def test_damaged_rows_are_named_and_a_damaged_table_is_a_sentence(study: Path) -> None:
    table = study / "runs.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], "flip,0", *lines[3:]]) + "\n")
    evidence = read_study(study)
    assert evidence.problems == ("runs.csv, line 3: the row is damaged and is left out",)
    assert [run.status for run in evidence.runs][:3] == ["complete", "missing", "complete"]
    table.write_text("what,is,this\n1,2,3\n")
    with pytest.raises(UserError, match=r"runs\.csv: is damaged, its header lacks variant, seed or status; remove it"):
        read_study(study)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"runs\.csv: cannot be read as a table"):
        read_study(study)
    table.unlink()
    gone = read_study(study)
    assert {run.status for run in gone.runs} == {"missing"}
    assert gone.problems == ("runs.csv: is not there, so that every run counts as missing",)


def test_without_a_plan_the_table_tells_which_runs_there_are(study: Path) -> None:
    (study / "plan.json").write_text("[{")
    evidence = read_study(study)
    assert len(evidence.runs) == 6
    assert evidence.problems == ("plan.json: is damaged; the runs are those of runs.csv",)
    (study / "plan.json").unlink()
    (study / "runs.csv").unlink()
    with pytest.raises(UserError, match=r"neither plan\.json nor runs\.csv names a run of this study"):
        read_study(study)


def test_a_definition_that_is_missing_or_damaged_is_a_sentence(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no study's folder; it has no study\.yaml"):
        read_study(tmp_path)
    for text in ("a: [", "just words", ""):
        (study / "study.yaml").write_text(text)
        with pytest.raises(UserError, match=r"study\.yaml: is damaged"):
            read_study(study)


def test_odd_values_of_the_definition_are_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", FIGURES, smallest_effect=-1, variants=None, deployed="best")
    evidence = read_study(study)
    assert evidence.smallest_effect is None
    assert evidence.problems == ("study.yaml: smallest_effect=-1 is no number above 0, and is left out",)
    assert (evidence.design, evidence.which, evidence.column) == (GRID, "best", "best.accuracy/val")


def test_a_row_of_another_config_is_no_run_of_this_plan(study: Path) -> None:
    plan = json.loads((study / "plan.json").read_text())
    plan[0]["digest"] = "another"
    (study / "plan.json").write_text(json.dumps(plan))
    assert read_study(study).runs[0].status == "missing"


def test_loose_runs_are_variants_by_what_differs_but_the_seed(tmp_path: Path) -> None:
    for name, aug, seed in (("a", "none", 0), ("b", "none", 1), ("c", "flip", 0), ("d", "flip", 0)):
        config = {"aug": {"name": aug, "strength": 1.0}, "runs_dir": f"/{name}"}
        write_record(tmp_path / name, 0.5 + seed / 10, seed, config)
    (tmp_path / "e").mkdir()
    folders = [tmp_path / name for name in "abcdea"]
    evidence = read_runs(folders)
    assert [variant.name for variant in evidence.variants] == ["aug=none", "aug=flip"]
    assert [(run.variant, run.seed, run.values["deployed.accuracy/val"]) for run in evidence.runs] == [
        ("aug=none", 0, 0.5), ("aug=none", 1, 0.6), ("aug=flip", 0, 0.5),
    ]  # fmt: skip
    assert len(evidence.problems) == 2
    assert "e: has no whole result.json of a finished run" in evidence.problems[0]
    assert "d: is the same config and seed as a run before it" in evidence.problems[1]
    with pytest.raises(UserError, match="no finished run is there"):
        read_runs([tmp_path / "e"])
