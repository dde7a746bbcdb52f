"""Mistakes of a person, damaged files and bad disks: one clear sentence, a status, nothing trained in vain."""

import errno
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_studies import Studies
from terrablate.study import run_table

OWN = "-m data=synthetic model=small_cnn trainer=cpu study.name=s study.seeds=1"
AUG = "'study.factors={aug: [none, flip]}'"


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studies:
    return Studies(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"{OWN} 'study.factors={{agu: [none, flip]}}'",
         "every variant: agu: there is no such key (did you mean aug?); allowed: "),
        (f"{OWN} 'study.factors={{aug: [none, flop, flip]}}'",
         "variant 'aug=flop': aug=flop: there is no such choice (did you mean flip?); allowed: "),
        (f"{OWN} 'study.factors={{aug: [none, flop], dropout: [native, head]}}' study.design=factorial",
         "variants 'aug=flop', 'aug=flop, dropout=head': aug=flop: there is no such choice"),
        (f"{OWN} 'study.factors={{optim.lr: [0.1, fast]}}'",
         "variant 'optim.lr=fast': optim.lr=fast: expected a number greater than 0"),
        (f"{OWN} 'study.factors={{aug: [none, none]}}'", "study.factors.aug: the level none is there twice"),
        (f"{OWN} {AUG} 'study.baseline={{aug: x}}'",
         "study.baseline.aug=x: there is no such level; levels: none, flip"),
        (f"{OWN} {AUG} study.seeds=0", "study.seeds=0: expected a whole number of at least 1 or a list of at least 1"),
        (f"{OWN} {AUG} study.seeds=[]", "study.seeds=[]: expected a whole number of at least 1 or a list of at least"),
        (f"{OWN} {AUG} study.seeds=x", "study.seeds=x: expected a whole number of at least 1 or a list of at least 1"),
        (f"{OWN} {AUG} study.seeds=0,1",
         "study.seeds=0,1: a study has one value of this; a list is written as 'study.seeds=[0,1]'"),
        (f"{OWN} {AUG} study.seeds=[1,1]", "study.seeds=[1, 1]: a seed is there twice"),
        (f"{OWN} {AUG} seed=3", "seed=3: the seeds of a study are given by study.seeds"),
        (f"{OWN} {AUG} aug=flip", "aug=flip: the study varies aug; leave it to its factors"),
        (f"{OWN} {AUG} optim.lr=0.1,0.2",
         "optim.lr=0.1,0.2: a study varies what its factors say; write '+study.factors={optim.lr:[0.1,0.2]}'"),
        (f"{OWN} \"study.factors={{tricks: {{without: [], with: ['aug=flip', 'aug=none']}}}}\"",
         "study.factors.tricks.with: aug is set twice"),
        (f"{OWN} \"study.factors={{tricks: {{without: [], with: ['optim.lr=0.1']}}, optim.lr: [0.1, 0.2]}}\"",
         "study.factors.optim.lr.0.1: the factor tricks sets optim.lr, too; a key belongs to one factor"),
        (f"{OWN} 'study.factors={{aug: [none, flip, all]}}' study.design=fractional",
         "study.design=fractional: the factor aug has 3 levels; two are needed"),
        (f"{OWN} {AUG} study.design=half",
         "study.design=half: expected one of one_at_a_time, leave_one_out, factorial, fractional, list"),
        (f"{OWN} 'study.factors={{aug: none}}'",
         "study.factors={aug: none}: expected a list of levels for each factor, such as {aug: [none, flip]}, or "),
        (f"{OWN} {AUG} study.name=a/b", "study.name=a/b: expected a name of letters, digits, spaces and _ . + -"),
        ("-m study=smok", "study=smok: there is no such choice (did you mean smoke?); allowed: "),
        ("-m study=smoke,none", "study=smoke,none: a study has one value of this"),
        ("study=smoke", "study=smoke: a study is many runs; add -m"),
        ("-m study=smoke study.factors.norm=[native,none]",
         "study.factors.norm: a key of your own in study.factors needs a plus sign: +study.factors.norm=..."),
        ("-m study=smoke 'study.factors={optim.lr: [1, 2]}'",
         "study.factors.optim.lr: a key of your own in study.factors needs a plus sign: '+study.factors={optim.lr: "),
        (f"{OWN} {AUG} 'study.tune={{optim.lr: [0.1]}}'",
         "study.tune={optim.lr: [0.1]}: expected a list of two values or more for each key, such as "),
        (f"{OWN} {AUG} 'study.tune={{optim.lrr: [0.1, 0.2]}}'",
         "every variant: study.tune: optim.lrr=0.1: optim.lrr: there is no such key (did you mean lr?)"),
        (f"{OWN} {AUG} 'study.tune={{optim.lr: [0.1, 0.10]}}'",
         "every variant: study.tune: optim.lr=0.1 and optim.lr=0.1 give the same config"),
        (f"{OWN} {AUG} 'study.tune={{aug: [flip, all]}}'", "study.tune.aug: the study varies it"),
        (f"{OWN} {AUG} optim.lr=1 'study.tune={{optim.lr: [1, 2]}}'", "study.tune.optim.lr: the command line sets it"),
        (f"{OWN} {AUG} 'study.tune={{optim.lr: [0.1, 0.2]}}' study.seeds=[1000000]",
         "study.seeds=1000000: seeds from 1000000 on are those of study.tune"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_nothing_is_trained(
    studies: Studies, capfd: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    assert studies(*shlex.split(words)) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line]
    assert said[0].startswith(f"error: {sentence}"), said
    assert len(said) <= 2
    assert not any(studies.folder.iterdir())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("factors: {aug: {a: none, a: flip}}", "{file}, line 3: found duplicate key a"),
        ("factors: {aug: [none, flip]", "{file}, line 4: expected ',' or '}', but got '<stream end>'"),
        ("factor: {aug: [none, flip]}", "study.factor: there is no such key (did you mean factors?); keys of study: "),
        (None, "study: the study's file has to begin with defaults: [_common, _self_]"),
    ],
)
def test_a_mistake_in_the_file_of_a_study_is_a_sentence(
    studies: Studies, capfd: pytest.CaptureFixture[str], content: str | None, sentence: str
) -> None:
    file = studies.folder / "study" / "mine.yaml"
    file.parent.mkdir()
    begin = "defaults: [_common, _self_]\nname: mine\n"
    file.write_text(f"{begin}{content}\n" if content else "name: mine\nfactors: {aug: [none, flip]}\n")
    assert studies("-m", "study=mine", f"hydra.searchpath=[file://{studies.folder}]") == 2
    assert capfd.readouterr().err.startswith(f"error: {sentence.replace('{file}', str(file))}")
    assert studies.trained == []


def test_what_the_sentence_on_a_factor_from_the_command_line_says_works(studies: Studies) -> None:
    assert studies("-m", "study=smoke", "+study.factors={optim.lr:[0.1,0.2]}", "study.seeds=1") == 0
    assert [run["optim.lr"] for run in studies.trained] == ["0.1", "0.1", "0.1", "0.1", "0.2"]


def a_study(*more: str) -> list[str]:
    return [*shlex.split(f"{OWN} {AUG}"), *more]


def test_two_studies_of_one_name_are_refused_before_anything_is_trained(
    studies: Studies, capfd: pytest.CaptureFixture[str]
) -> None:
    assert studies(*a_study()) == 0
    for other in (
        ["epochs=3"],
        ["study.factors={aug:[none,all]}"],
        ["study.factors={aug:[none,all]}", "study.tune={optim.lr:[1,2]}"],
    ):
        before = (studies.folder / "studies/s/runs.csv").read_bytes()
        capfd.readouterr()
        assert studies(*a_study(*other)) == 2
        assert re.match(r"error: study\.name: \S+/s holds a study that was planned otherwise: ", capfd.readouterr().err)
        assert studies.trained == []
        assert (studies.folder / "studies/s/runs.csv").read_bytes() == before


@pytest.mark.parametrize("damage", ["[{", "{}", "3", '[{"variant": "a"}]', "[1]", "\x00", "\udcff"])
def test_a_damaged_plan_is_told_and_removing_it_is_the_way_out(
    studies: Studies, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    assert studies(*a_study()) == 0
    plan = studies.folder / "studies/s/plan.json"
    whole = plan.read_text()
    plan.write_text(damage, errors="surrogateescape")
    capfd.readouterr()
    assert studies(*a_study()) == 2
    assert capfd.readouterr().err == f"error: {plan}: is damaged; remove it, and the plan is made anew\n"
    plan.unlink()
    assert studies(*a_study()) == 0
    assert studies.trained == []
    assert plan.read_text() == whole  # nothing is said to have been added


@pytest.mark.parametrize(
    "damage", [lambda text: text[: len(text) - 40], lambda text: "a,b\n1,2\n", lambda text: "\udcff"]
)
def test_a_damaged_table_is_told_and_is_made_anew_from_the_records(
    studies: Studies, capfd: pytest.CaptureFixture[str], damage: Callable[[str], str]
) -> None:
    assert studies(*a_study()) == 0
    table = studies.folder / "studies/s/runs.csv"
    whole = table.read_text()
    table.write_text(damage(whole), errors="surrogateescape")
    capfd.readouterr()
    assert studies(*a_study()) == 2
    sentence = f"error: {table}: is damaged; remove it, and it is made anew from the records of the runs\n"
    assert capfd.readouterr().err == sentence
    table.unlink()
    assert studies(*a_study()) == 0
    assert studies.trained == []
    assert table.read_text() == whole


@pytest.mark.parametrize("damage", ["", '{"status": "comp', "[]", '{"status": "complete"}', "null"])
def test_a_damaged_result_is_not_taken_for_done(studies: Studies, damage: str) -> None:
    assert studies(*a_study()) == 0
    row = studies.rows("s")[0]
    (Path(row["folder"]) / "result.json").write_text(damage)
    assert studies(*a_study()) == 0
    assert [run["aug"] for run in studies.asked_for] == [row["level.aug"]]


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_written_is_a_sentence(
    studies: Studies, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = studies.folder / "studies"
    place.write_text("a file where the folder should be")
    assert studies(*a_study()) == 2
    assert (
        capfd.readouterr().err.splitlines()[-1] == f"error: studies_dir: {place}/s cannot be written: Not a directory"
    )
    place.unlink()
    monkeypatch.setattr(run_table, "write_whole", no_space)
    assert studies(*a_study()) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == f"error: studies_dir: {place}/s cannot be written: No space left on device"
    assert studies.trained == []


def test_a_disk_that_is_full_for_a_while_stops_no_run_and_loses_no_result(
    studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(words: Any) -> float:
        full = len(studies.trained) < 2
        monkeypatch.setattr(run_table, "write_whole", no_space if full else run_table_writes)
        return 0.5

    run_table_writes = run_table.write_whole
    studies.judge = judge
    assert studies(*a_study()) == 0
    assert [row["status"] for row in studies.rows("s")] == ["complete", "complete"]


def test_a_disk_that_stays_full_is_a_sentence_and_the_records_count_at_the_next_start(
    studies: Studies, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        studies.judge = lambda _: patch.setattr(run_table, "write_whole", no_space) or 0.5
        assert studies(*a_study()) == 2
    assert len(studies.trained) == 2
    assert capfd.readouterr().err.splitlines()[-1].endswith("/s cannot be written: No space left on device")
    assert studies(*a_study()) == 0
    assert studies.trained == []
    assert [row["status"] for row in studies.rows("s")] == ["complete", "complete"]
