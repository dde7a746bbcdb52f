"""What stands in W&B's offline files: names, summary, attachments, and one whole run after a cut-off one."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from terrablate.config import Config
from terrablate.training.loggers import make_loggers
from terrablate.training.record import Record
from terrablate.training.run import run
from terrablate.training.wandb_curves import _mode
from wandb_files import histories, records, started, summaries

TINY = (
    "model=small_cnn", "model.width=4", "epochs=3", "batch_size=16", "trainer=cpu", "trainer.threads=1",
    "trainer.checkpoint_seconds=0", "logger=wandb", "logger.tags=[x,y]",
    "study.name=a_study", "study.member.variant='aug=flip'", "study.member.levels={aug:flip}",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def offline(record: Record) -> list[Path]:
    return sorted((record.folder / "wandb").glob("offline-run-*"))


def test_a_finished_run_stands_whole_in_one_offline_file(compose: Callable[..., Config]) -> None:
    record = run(compose(*TINY))
    (folder,) = offline(record)
    run_of = started(folder)
    assert run_of.run_id == record.folder.name
    assert (run_of.run_group, run_of.job_type, run_of.project) == ("a_study", "aug=flip", "terrablate")
    assert set(run_of.tags) == {"x", "y", "aug=flip", "synthetic data"}
    config = {item.key: json.loads(item.value_json) for item in run_of.config.update}
    assert (config["variant"], config["levels"]) == ("aug=flip", {"aug": "flip"})
    assert config["model"]["width"] == 4
    curves = [row for row in histories(folder) if "nll/val" in row]
    assert [row["epoch"] for row in curves] == ["1", "2", "3"]
    assert all(float(row["_step"]) == float(row["epoch"]) for row in curves)
    summary = summaries(folder)
    result = record.result()
    assert result is not None
    assert float(summary["best/nll/val"]) == result["best"]["nll/val"]
    assert float(summary["deployed/accuracy/val"]) == result["deployed"]["accuracy/val"]
    assert float(summary["overfitting/gap_loss"]) == pytest.approx(result["overfitting"]["gap_loss"])
    assert result["overfitting"]["verdict"] in summary["overfitting/verdict"]
    assert float(summary["cost/total_seconds"]) == pytest.approx(result["cost"]["seconds"])
    assert float(summary["floor/accuracy"]) == result["floor"][result["floor"]["best"]]["accuracy"]
    attached = {
        name.split("/")[0] + "/" + name.split("/")[1] for row in histories(folder) for name in row if "/" in name
    }
    assert {"pictures/curves", "pictures/augmentations", "errors/confusion_table", "errors/by_class"} <= attached
    last = histories(folder)[-1]
    assert last["errors/worst/count"] == "16"
    assert all(caption.startswith("true: ") for caption in json.loads(last["errors/worst/captions"]))
    exits = [each.exit.exit_code for each in records(folder) if each.HasField("exit")]
    assert exits == [0]


def test_the_names_make_few_sections_of_what_belongs_together(compose: Callable[..., Config]) -> None:
    (folder,) = offline(run(compose(*TINY, "epochs=2")))
    row = next(row for row in histories(folder) if "nll/val" in row)  # the last one has the pictures, too
    sections: dict[str, set[str]] = {}
    for name in row:
        if not name.startswith("_"):
            section, _, panel = name.partition("/")
            sections.setdefault(section, set()).add(panel)
    assert sections == {
        "epoch": {""},
        "nll": {"val", "probe"},
        "accuracy": {"val", "probe"},
        "gap": {"loss", "accuracy"},
        "objective": {"train"},
        "val": {"accuracy_macro", "f1_macro", "kappa", "ece", "top5"},
        "optim": {"lr", "step"},
        "cost": {"seconds", "images_per_second"},
    }
    axes = {
        each.metric.name or each.metric.glob_name: each.metric for each in records(folder) if each.HasField("metric")
    }
    assert axes["epoch"].options.hidden
    assert axes["*"].step_metric == "epoch"


def test_a_resumed_run_is_whole_in_a_fresh_file_and_the_old_one_is_superseded(
    compose: Callable[..., Config], cut_off: Callable[[Config], Record]
) -> None:
    config = compose(*TINY)
    (first,) = offline(cut_off(config))
    assert [each.exit.exit_code for each in records(first) if each.HasField("exit")] == [1]
    record = run(config)
    (fresh,) = offline(record)
    assert [row["epoch"] for row in histories(fresh) if "nll/val" in row] == ["1", "2", "3"]
    assert started(fresh).run_id == record.folder.name
    assert len(list((record.folder / "wandb").glob("superseded-offline-run-*"))) == 1


def test_offline_unless_logged_in_or_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _mode("auto") == "offline"
    assert _mode("online") == "online"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert _mode("auto") == "online"
    assert _mode("offline") == "offline"
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert _mode("auto") == "online"


def test_a_group_that_is_asked_for_goes_before_the_study(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    stand_in = SimpleNamespace(define_metric=lambda *_, **__: None)
    monkeypatch.setattr("wandb.init", lambda **given: asked.update(given) or stand_in)
    make_loggers(compose(*TINY, "logger.group=mine", "logger.job_type=sort"), "id", tmp_path, [])
    assert (asked["group"], asked["job_type"]) == ("mine", "sort")
    make_loggers(compose("logger=wandb"), "id", tmp_path, [])
    assert (asked["group"], asked["job_type"], asked["tags"]) == (None, None, ["synthetic data"])
