"""Studies that are killed at random moments, or started twice at once, end as one that nobody disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import Started, differences, left_over, prepare

CHAOS = Path(__file__).resolve().parents[1] / "chaos.py"


@pytest.mark.slow
def test_a_study_killed_in_every_way_ends_with_the_results_of_an_undisturbed_one(tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), str(tmp_path / "chaos"), "--kills", "5", "--seed", "1"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "chaos" / "report.json").read_text())
    assert len(report["kills"]) == 5
    assert {kill["kind"] for kill in report["kills"]} == {
        "kill_the_parent",
        "kill_a_worker",
        "kill_everything",
        "terminate_the_parent",
        "interrupt_twice",
    }
    for outcome in report["rounds"]:
        assert outcome == {"status": 0, "left_over": [], "differences": []}


@pytest.mark.slow
def test_two_people_who_start_one_study_at_once_train_each_run_once(tmp_path: Path) -> None:
    prepare(tmp_path)
    words = ["study.seeds=2", "epochs=3", "hydra.launcher.slots_per_device=1"]
    both = [Started(tmp_path, words, "both") for _ in range(2)]
    assert [study.process.wait() for study in both] == [0, 0], both[0].log.read_text()
    base = both[0].base
    assert left_over(base) == []
    logs = [log.read_text() for log in (base / "studies" / "chaos" / "logs").iterdir()]
    assert len(logs) == 2
    trained = [line for log in logs for line in log.splitlines() if line.startswith("epoch 3/3")]
    assert len(trained) == 4
    assert len(list(base.glob("runs/*/result.json"))) == 4
    alone = Started(tmp_path, words, "alone")
    assert alone.process.wait() == 0
    assert differences(alone.base, base) == []


def test_the_comparison_finds_what_differs(tmp_path: Path) -> None:
    for base, accuracy, run in (("a", "0.5", "r-1"), ("b", "0.25", "r-2")):
        (tmp_path / base / "studies" / "chaos").mkdir(parents=True)
        (tmp_path / base / "runs" / run).mkdir(parents=True)
        (tmp_path / base / "runs" / run / "metrics.csv").write_text(f"epoch,seconds,nll\n1,{accuracy},{accuracy}\n")
        row = f"v,0,complete,{accuracy},{base}/runs/{run},{accuracy}"
        table = f"variant,seed,status,cost.seconds,folder,last.accuracy/val\n{row}\n"
        (tmp_path / base / "studies" / "chaos" / "runs.csv").write_text(table)
    (tmp_path / "b" / "runs" / "r-2" / "archive").mkdir()
    assert differences(tmp_path / "a", tmp_path / "a") == []
    found = differences(tmp_path / "a", tmp_path / "b")
    assert "('v', '0') last.accuracy/val: '0.25' instead of '0.5'" in found
    assert "('v', '0') run: 'r-2' instead of 'r-1'" in found
    assert f"{tmp_path / 'b' / 'runs' / 'r-2' / 'archive'}: an archive" in found
    assert not any("cost.seconds" in line for line in found)
