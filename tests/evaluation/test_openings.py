"""The register of openings: what it counts, and when it refuses."""

import multiprocessing
from pathlib import Path

import pytest

from evaluations import register_of
from terrablate.errors import UserError
from terrablate.evaluation import openings as module
from terrablate.evaluation.openings import COLUMNS, FILE, Opening, opened_elsewhere, openings, write_opening


def write(folder: Path, data: str = "eurosat", split: str = "test", known: int = 0) -> Opening:
    return write_opening(
        folder / FILE, study="s", runs=["a", "b"], data=data, split=split, options="", known=known, commit="c"
    )


def test_each_data_set_and_split_is_counted_by_itself(tmp_path: Path) -> None:
    counts = [write(tmp_path, *which).count for which in (("a", "test"), ("b", "test"), ("a", "val"), ("a", "test"))]
    assert counts == [1, 1, 1, 2]
    assert [each.count for each in openings(tmp_path)] == counts
    assert tuple(register_of(tmp_path)[0]) == COLUMNS


def test_what_the_runs_know_counts_too(tmp_path: Path) -> None:
    assert write(tmp_path, known=4).count == 5
    assert write(tmp_path, known=0).count == 6


def test_odd_names_come_back_as_they_were(tmp_path: Path) -> None:
    write(tmp_path, data='Füße, "x"; y')
    assert openings(tmp_path)[0].data == 'Füße, "x"; y'


def _many(folder: Path) -> None:
    for _ in range(10):
        write(folder)


def test_processes_do_not_lose_each_others_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_many, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(each.count for each in openings(tmp_path)) == list(range(1, 31))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],  # a last line that is cut off
        lambda text: text.replace(",1\n", ",one\n"),
        lambda text: text.replace("time,study", "when,study"),
        lambda text: text.rstrip("\n") + ",more\n",
        lambda text: text.replace("eurosat,", ""),
        lambda text: '"' + text,
        lambda text: "\x00\n",
    ],
)
def test_a_damaged_register_is_refused_and_left_alone(tmp_path: Path, damage: object) -> None:
    write(tmp_path)
    path = tmp_path / FILE
    damaged = damage(path.read_text())  # type: ignore[operator]
    path.write_text(damaged)
    with pytest.raises(UserError, match=r"test_openings.csv: is damaged, so that nobody can tell how often"):
        write(tmp_path)
    assert path.read_text() == damaged


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is damaged"):
        openings(tmp_path)


def test_what_cannot_be_written_down_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_append", full)
    with pytest.raises(UserError, match=r"No space left on device.*what is not written down is not opened"):
        write(tmp_path)
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    with pytest.raises(UserError, match="Is a directory"):
        openings(tmp_path / "folder")


def test_other_studies_are_looked_up_and_damaged_ones_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("mine", "one", "two", "broken", "other"):
        (tmp_path / name).mkdir()
    write(tmp_path / "one")
    write(tmp_path / "one")
    write(tmp_path / "two")
    write(tmp_path / "other", data="ucmerced")
    (tmp_path / "broken" / FILE).write_text("?")
    assert opened_elsewhere(tmp_path / "mine" / FILE, "eurosat", "test") == {"one": 2, "two": 1}
    assert "broken" in caplog.text
