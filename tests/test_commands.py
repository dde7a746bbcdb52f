"""The command line answers at once, in a sentence, and without importing torch."""

import re
from pathlib import Path

import pytest

from helpers import run_command
from terrablate.config.choices import all_choices, groups


def test_help_lists_all_groups_and_choices(tmp_path: Path) -> None:
    done = run_command("train", tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for group in groups():
        assert re.search(rf"^  {group}(:.*)?$", done.stdout, re.MULTILINE)
    for choice in all_choices():
        assert f" {choice.name} " in done.stdout
    assert "usage: python src/train.py [group=choice ...] [key=value ...]" in done.stdout


def test_cfg_job_shows_the_composed_config(tmp_path: Path) -> None:
    done = run_command("train", tmp_path, "--cfg", "job", "model=lenet", "seed=7")
    assert (done.returncode, done.stderr) == (0, "")
    assert "name: lenet" in done.stdout
    assert "\nseed: 7\n" in done.stdout
    assert not list(tmp_path.iterdir())  # nothing is written where it is called


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optim.lr=fast"], ["error: optim.lr=fast: expected a number greater than 0"]),
        (["epochs=-3", "seed=x"], 2 * ["error: "]),
        (["modle=resnet18"], ["error: modle: there is no such key (did you mean model?); allowed: "]),
        (["norm=bach"], ["error: norm=bach: there is no such choice (did you mean batch?); allowed: "]),
        (["weights=imagenet", "model=lenet"], ["error: weights=imagenet: there are no published weights for "]),
        (["-m", "epochs=0,-1"], [f"error: variant 'epochs={n}': epochs={n}: expected" for n in (0, -1)]),
    ],
)
def test_a_mistake_is_a_sentence_on_stderr(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    done = run_command("train", tmp_path, *words, f"runs_dir={tmp_path / 'runs'}")
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("run ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))
    assert done.stdout == ""
