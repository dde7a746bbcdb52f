"""A run that was killed goes on with the digits of an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLACES = (
    "in_the_epoch",
    "in_the_evaluation",
    "in_saving_the_checkpoint",
    "between_best_and_last",
    "after_the_last_epoch",
    "before_the_first_checkpoint",
)
SCENARIOS = ("cosine", "plateau", "early", "prune", "steps")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("kill_and_resume.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[1])}
    done = subprocess.run(
        [sys.executable, script, folder], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("place", PLACES)
def test_a_killed_run_resumes_to_the_same_digits(
    report: dict[str, dict[str, object]], scenario: str, place: str
) -> None:
    seen = report[f"{scenario}/{place}"]
    assert seen == {"killed": True, "complete_too_early": False, "resumed": 0, "differences": []}
