"""The pool of workers, with runs that only pretend to train."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from terrablate.errors import UserError
from terrablate.study.outcome import Outcome
from terrablate.study.progress import what_differs
from terrablate.study.slots import Settings, run_jobs
from terrablate.training import claim

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 60
"""Seconds after which something that should happen will not."""

Pool = Callable[..., list[Outcome]]


@pytest.fixture(autouse=True)
def _fake_runs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """`pool("do=kill", "value=0.5", slots=2)`: the outcomes of these runs."""

    def outcomes(*jobs: str, slots: int = 2, told: list[int] | None = None, **settings: Any) -> list[Outcome]:
        given = {"logs": tmp_path / "logs", "devices": "cpu", "runner": "fake_runs:run", "poll_seconds": 0.01}
        tell = (lambda index, outcome: told.append(index)) if told is not None else None
        return run_jobs([job.split() for job in jobs], Settings(**given | {"slots_per_device": slots} | settings), tell)

    return outcomes


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_outcomes_come_in_the_order_of_the_jobs_and_are_told_as_they_come(pool: Pool, tmp_path: Path) -> None:
    told: list[int] = []
    found = pool(*(f"value={n / 10}" for n in range(7)), slots=3, told=told)
    assert [float(each) for each in found] == [n / 10 for n in range(7)]
    assert {each.kind for each in found} == {"complete"}
    assert sorted(told) == list(range(7))
    names = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert names == [f"cpu-{n}-{os.getpid()}.log" for n in range(3)]


def test_no_jobs_need_no_workers(pool: Pool, tmp_path: Path) -> None:
    assert pool() == []
    assert not (tmp_path / "logs").exists()


def test_a_worker_is_kept_for_the_next_job_and_sees_no_gpu_and_one_thread(pool: Pool) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "7"
    try:
        said = [each.reason for each in pool("do=environment", "do=environment", slots=1)]
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
    assert said[0] == said[1]
    assert said[0] is not None
    assert said[0].startswith("{'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'} {'CUDA_VISIBLE_DEVICES': '7', ")


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("kill", "the process died of SIGKILL, perhaps out of memory"),
        ("segfault", "the process died of SIGSEGV"),
        ("exit", "the process ended with status 3 before the run did"),
    ],
)
def test_a_worker_that_dies_costs_its_run_only(
    pool: Pool, do: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = pool("value=1", f"do={do}", "value=2", "value=3", slots=1)
    assert [each.kind for each in found] == ["complete", "died", "complete", "complete"]
    assert (found[1].status, found[1].reason) == (1, reason)
    assert math.isnan(found[1])
    said = capfd.readouterr().err
    assert ("my last words" in said) == (do == "kill")
    assert ("Segmentation fault" in said) == (do == "segfault")


def test_a_run_whose_worker_died_has_a_record_that_says_so(pool: Pool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (outcome,) = pool(f"do=kill_in_record folder={folder}")
    assert outcome.folder == str(folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"] == "the process died of SIGKILL, perhaps out of memory"
    assert "do=kill_in_record" in result["traceback"]
    assert not claim.held(folder)


def test_a_run_that_takes_too_long_is_ended_and_recorded(pool: Pool, tmp_path: Path) -> None:
    found = pool(f"do=sleep folder={tmp_path}", "value=1", slots=1, run_timeout=0.5)
    assert [each.kind for each in found] == ["timed_out", "complete"]
    assert found[0].reason == "ended after the 0.5 s of run_timeout"
    assert json.loads((tmp_path / "record" / "result.json").read_text())["status"] == "failed"


def test_a_run_that_does_not_listen_is_killed_with_what_it_started(pool: Pool, tmp_path: Path) -> None:
    found = pool(f"do=stubborn folder={tmp_path}", "value=1", slots=1, run_timeout=2.0, grace_seconds=0.2)
    assert [each.kind for each in found] == ["timed_out", "complete"]
    wait_for(lambda: not alive(int((tmp_path / "child").read_text())))


def test_a_run_out_of_memory_beside_others_is_tried_again_alone(pool: Pool, tmp_path: Path) -> None:
    jobs = [f"do=memory folder={tmp_path} name={name}" for name in "ab"]
    assert [each.kind for each in pool(*jobs, "value=1", "value=2")] == 4 * ["complete"]
    assert (tmp_path / "tried").exists()


def test_a_run_out_of_memory_twice_has_failed(pool: Pool) -> None:
    (outcome,) = pool("do=no_memory")
    assert (outcome.kind, outcome.status) == ("out_of_memory", 1)


def test_a_run_that_another_process_trains_is_looked_at_again(pool: Pool, tmp_path: Path) -> None:
    told: list[int] = []
    found = pool(f"do=busy folder={tmp_path} value=3", "value=1", slots=1, told=told)
    assert [float(each) for each in found] == [3, 1]
    assert told == [1, 0]
    assert (tmp_path / "seen").read_text() == "xxx"


def test_mistakes_and_failures_are_told_apart(pool: Pool) -> None:
    found = pool("do=refuse", "do=break", "value=1", slots=1)
    assert [(each.kind, each.status) for each in found] == [("refused", 2), ("failed", 1), ("complete", 0)]
    assert found[0].reason == "optim.lr=fast: expected a number"
    assert found[1].reason == "RuntimeError: the machine is on fire"


@pytest.mark.parametrize("runner", ["fake_runs:no_such_function", "no_such_module:run"])
def test_workers_that_do_not_start_end_the_study(pool: Pool, runner: str) -> None:
    with pytest.raises(
        UserError, match=r"^workers do not start \(\w+Error: .*no_such_\w+'.*\); their log is .*cpu-0-\d+\.log"
    ):
        pool("value=1", slots=1, runner=runner)


def test_a_folder_for_logs_that_cannot_be_made_is_one_sentence(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        pool("value=1", logs=tmp_path / "file")


def test_a_run_is_called_by_what_not_all_runs_have() -> None:
    jobs = [
        ["epochs=2", "seed=0", "study.member.variant=a"],
        ["epochs=2", "aug=flip", "seed=0"],
        ["epochs=2", "seed=1"],
    ]
    assert what_differs(jobs) == [["seed=0"], ["aug=flip", "seed=0"], ["seed=1"]]


def test_without_a_terminal_each_run_that_ends_is_a_line(pool: Pool, capfd: pytest.CaptureFixture[str]) -> None:
    pool("value=0.25", "do=refuse", slots=1)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("[1/2] complete  val accuracy 0.250  0:00  value=0.25  ETA 0:0")
    assert lines[1] == "[2/2] refused  0:00  do=refuse: optim.lr=fast: expected a number"


def started(tmp_path: Path, slots: int, *jobs: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(TESTS / "fake_pool.py"), str(tmp_path / "logs"), str(slots), *jobs]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asleep(folder: Path) -> int:
    """Process of the worker once its run is under way."""
    wait_for(lambda: (folder / "asleep").exists() and (folder / "asleep").read_text())
    return int((folder / "asleep").read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_pool_lets_its_runs_end_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, 1, "value=1", f"do=sleep folder={tmp_path}", "value=2")
    worker = asleep(tmp_path)
    process.send_signal(number)
    said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert said.splitlines() == ["0 complete", "1 interrupted"]
    assert "stopping" in errors
    assert not alive(worker)
    assert not claim.held(tmp_path / "record")
    assert not (tmp_path / "record" / "result.json").exists()


def test_a_second_ctrl_c_kills_at_once(tmp_path: Path) -> None:
    process = started(tmp_path, 1, f"do=stubborn folder={tmp_path}")
    worker = asleep(tmp_path)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("stopping")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 8  # the grace period has ten seconds
    assert (process.returncode, said.splitlines()) == (130, ["0 interrupted"])
    wait_for(lambda: not alive(worker) and not alive(int((tmp_path / "child").read_text())))


def test_workers_end_by_themselves_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    jobs = (f"do=sleep folder={tmp_path / 'a'}", f"do=sleep folder={tmp_path / 'b'}")
    process = started(tmp_path, 2, *jobs)
    workers = [asleep(tmp_path / name) for name in "ab"]
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(alive, workers)))
    assert not claim.held(tmp_path / "a" / "record")


@pytest.mark.slow
def test_a_worker_that_does_not_listen_is_gone_some_seconds_after_its_parent(tmp_path: Path) -> None:
    process = started(tmp_path, 1, f"do=stubborn folder={tmp_path}")
    worker = asleep(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(worker) and not alive(int((tmp_path / "child").read_text())))


def test_a_worker_killed_by_hand_costs_its_run_only(tmp_path: Path) -> None:
    process = started(tmp_path, 1, f"do=sleep folder={tmp_path}", "value=1")
    os.kill(asleep(tmp_path), signal.SIGKILL)
    said, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said.splitlines()) == (0, ["0 died", "1 complete"]), errors
    assert json.loads((tmp_path / "record" / "result.json").read_text())["status"] == "failed"


def test_the_pool_imports_no_torch() -> None:
    script = "import sys, terrablate.study.slots; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_what_is_left_over_is_nothing(pool: Pool) -> None:
    def children() -> set[str]:
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if entry.name.isdigit() and int(fields[1]) == os.getpid():
                    found.add(entry.name)
        return found

    before, descriptors = children(), len(list(Path("/proc/self/fd").iterdir()))
    pool("value=1", "do=kill", "value=2")
    assert children() <= before  # what earlier tests had started may end meanwhile
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
