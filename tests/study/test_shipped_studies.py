"""Every study that is shipped composes, each of its variants, before anything is trained; and says what it asks."""

from pathlib import Path

import pytest
import yaml

from fake_studies import Studies
from terrablate.config.choices import PROJECT

SHIPPED = sorted((PROJECT / "experiments" / "study").glob("*.yaml"))
NAMED = {
    "tricks", "tricks_leave_one_out", "tricks_fractional", "architectures", "capacity", "labels", "augment_strength",
    "pretraining", "batch_size", "optimizers", "dropout_rate", "label_noise",
}  # fmt: skip


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studies:
    (tmp_path / "data" / "eurosat").mkdir(parents=True)  # a config of a folder that is not there is refused
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return Studies(tmp_path, monkeypatch)


def test_the_studies_that_are_promised_are_there() -> None:
    assert {path.stem for path in SHIPPED} >= NAMED


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_a_shipped_study_plans_and_is_sized_by_overrides(
    path: Path, studies: Studies, capfd: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(path.read_text())
    key = "steps" if path.stem in ("labels", "batch_size") else "epochs"
    assert studies("-m", f"study={path.stem}", f"{key}=2", "study.seeds=1", "data.val_per_class=10") == 0
    first, second, *rows = capfd.readouterr().err.splitlines()
    assert first == f"study {path.stem}: {content['question']}"
    variants = int(second.split()[0])
    assert second.startswith(f"{variants} variants x 1 seeds = {variants} runs")
    assert sum("(baseline)" in row for row in rows) == 1
    assert all(run[key] == "2" for run in studies.trained)
    assert len([run for run in studies.trained if int(run["seed"]) == 0]) == variants


def test_a_fractional_study_says_its_resolution(studies: Studies, capfd: pytest.CaptureFixture[str]) -> None:
    assert studies("-m", "study=tricks_fractional", "study.plan_only=true") == 0
    said = capfd.readouterr().err
    assert "16 variants x 5 seeds = 80 runs" in said
    assert "resolution 4" in said
    assert said.count("aliased: ") == 7  # of 15 pairs: one chain of three, six of two
