"""One process at a time holds a run, whatever happens to the others."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claim_racers import DEAD, enter_and_abandon, plant, race
from terrablate.errors import Busy, UserError
from terrablate.training import claim
from terrablate.training.claim import NAME, Claim, Owner
from terrablate.training.failure import failure_of_another
from terrablate.training.record import Record


def together(count: int, target: Callable[..., None], *arguments: Any, barrier: bool = False) -> list[Any]:
    """What each of several processes put into the queue."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    shared = (context.Barrier(count), results) if barrier else (results,)
    processes = [context.Process(target=target, args=(*arguments, *shared)) for _ in range(count)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return found


def age(file: Path, seconds: float) -> None:
    before = file.stat().st_mtime - seconds
    os.utime(file, (before, before))


def test_of_two_processes_that_race_for_fifty_claims_one_wins_each(tmp_path: Path) -> None:
    for number in range(0, 50, 2):
        plant(tmp_path / str(number))  # half of them are taken over
    won = together(2, race, tmp_path, 50, barrier=True)
    assert sorted(won[0] + won[1]) == list(range(50))
    assert not list(tmp_path.glob(f"*/{NAME}"))
    assert not list(tmp_path.glob(f"*/.{NAME}.*"))


def test_no_two_processes_are_inside_however_often_one_is_killed(tmp_path: Path) -> None:
    assert together(3, enter_and_abandon, tmp_path, 100) == [0, 0, 0]


def test_a_claim_is_freed_at_the_end(tmp_path: Path) -> None:
    with Claim(tmp_path):
        (file,) = (tmp_path / NAME).iterdir()
        content = json.loads(file.read_text())
        assert content["pid"] == os.getpid()
        assert claim.held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not claim.held(tmp_path)


def test_a_claim_of_a_living_process_is_respected_and_named(tmp_path: Path) -> None:
    with (
        Claim(tmp_path),
        pytest.raises(Busy, match=rf"another process is training this run \(process {os.getpid()} on "),
        Claim(tmp_path),
    ):
        pass
    with Claim(tmp_path):
        pass


def test_a_stopped_process_of_this_machine_keeps_its_claim(tmp_path: Path) -> None:
    age(plant(tmp_path, pid=os.getpid()), 10 * claim.STALE_SECONDS)
    with pytest.raises(Busy), Claim(tmp_path):
        pass


@pytest.mark.parametrize("owner", [{"pid": DEAD}, {"started": "1"}], ids=["no such process", "its id is another's"])
def test_a_dead_process_of_this_machine_loses_its_claim_at_once(tmp_path: Path, owner: dict[str, Any]) -> None:
    plant(tmp_path, **({"pid": os.getpid()} | owner))
    with Claim(tmp_path):
        assert not (tmp_path / NAME / "planted.json").exists()


def test_a_process_that_has_ended_and_was_not_waited_for_is_dead(tmp_path: Path) -> None:
    script = "from terrablate.training.claim import Claim; from pathlib import Path; import os, sys\n"
    script += "Claim(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), 9)"
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert list((tmp_path / NAME).iterdir())
    with Claim(tmp_path):
        pass
    process.wait()


@pytest.mark.parametrize(("quiet", "taken"), [(30, False), (90, True)])
def test_a_claim_of_another_machine_counts_while_it_gives_signs_of_life(
    tmp_path: Path, quiet: float, taken: bool
) -> None:
    file = plant(tmp_path, machine="elsewhere", host="elsewhere")
    age(file, quiet)
    if taken:
        with Claim(tmp_path):
            assert not file.exists()
    else:
        with pytest.raises(Busy, match="on elsewhere"), Claim(tmp_path):
            pass


def test_an_unreadable_claim_counts_as_one_of_another_machine(tmp_path: Path) -> None:
    file = plant(tmp_path)
    file.write_text("{")
    with pytest.raises(Busy), Claim(tmp_path):
        pass
    age(file, 90)
    with Claim(tmp_path):
        pass


def test_an_empty_claim_and_leftovers_of_killed_processes_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / f".{NAME}.abc").mkdir()
    with Claim(tmp_path):
        assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.001)
    with Claim(tmp_path):
        (file,) = (tmp_path / NAME).iterdir()
        age(file, 1000)
        old = file.stat().st_mtime
        while file.stat().st_mtime < old + 500:  # ends, or the suite's time limit tells
            pass


def take_over(folder: Path) -> None:
    """As another machine does after it has heard nothing for long."""
    (file,) = (folder / NAME).iterdir()
    file.unlink()
    (folder / NAME).rmdir()
    plant(folder, pid=os.getpid(), token="other")


def test_a_record_that_was_taken_over_is_not_written_any_more(tmp_path: Path) -> None:
    record = Record(tmp_path)
    with record.claim():
        record.write_text("before", "")
        record.check_claim()
        take_over(tmp_path)
        for write in (
            lambda: record.write_text("after", ""),
            lambda: record.append_metrics({"epoch": 1}),
            record.archive,
            record.check_claim,
        ):
            with pytest.raises(Busy, match="another process has taken this run over"):
                write()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["before", NAME]
    assert [file.name for file in (tmp_path / NAME).iterdir()] == ["other.json"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^runs_dir: .*/file/run cannot be written"), Claim(tmp_path / "file" / "run"):
        pass


def test_the_folder_is_told_before_the_claim_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(claim.REPORT, str(tmp_path / "told"))
    assert claim.reported() is None
    plant(tmp_path / "run", pid=os.getpid())
    with pytest.raises(Busy), Claim(tmp_path / "run"):
        pass
    assert claim.reported() == tmp_path / "run"


def test_two_claims_of_one_process_have_different_tokens() -> None:
    assert Owner.this().token != Owner.this().token


@pytest.mark.parametrize("status", ["complete", "diverged", "failed"])
def test_a_run_that_has_ended_is_not_marked_as_failed(tmp_path: Path, status: str) -> None:
    record = Record(tmp_path)
    record.write_json("run.json", {"identity": "i", "code": "c"})
    record.write_json("result.json", {"status": status})
    assert not failure_of_another(tmp_path, "died", "")
    assert record.result() == {"status": status}


def test_a_run_that_another_process_has_taken_up_is_not_marked_as_failed(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.write_json("run.json", {"identity": "i", "code": "c"})
    with Claim(tmp_path):
        assert not failure_of_another(tmp_path, "died", "")
    assert failure_of_another(tmp_path, "died", "last words")
    result = record.result()
    assert result is not None
    assert (result["status"], result["error"], result["traceback"]) == ("failed", "died", "last words")
    assert result["provenance"] == {"identity": "i", "code": "c"}
