"""What stands in W&B's offline files: names, summary, attachments, and one whole run after a cut-off one."""

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from terrablate.config import Config
from terrablate.training.classifier import Classifier
from terrablate.training.loggers import _mode, make_loggers
from terrablate.training.record import Record
from terrablate.training.run import run

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


def records(folder: Path) -> list[Any]:
    """All records of a run that was closed; W&B's own process may write the last ones a moment after `finish`."""
    for _ in range(100):
        found = list(_read(folder))
        if any(record.HasField("exit") for record in found):
            break
        time.sleep(0.1)
    return found


def _read(folder: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log (blocks of 32 KiB, checksum, length and kind before each piece)."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    assert content[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def rows(folder: Path) -> list[dict[str, str]]:
    logged = [record.history for record in records(folder) if record.HasField("history")]
    return [{item.key or "/".join(item.nested_key): item.value_json for item in each.item} for each in logged]


def the_run(folder: Path) -> Any:
    return next(record.run for record in records(folder) if record.HasField("run"))


def offline(record: Record) -> list[Path]:
    return sorted((record.folder / "wandb").glob("offline-run-*"))


def test_a_finished_run_stands_whole_in_one_offline_file(compose: Callable[..., Config]) -> None:
    record = run(compose(*TINY))
    (folder,) = offline(record)
    started = the_run(folder)
    assert started.run_id == record.folder.name
    assert (started.run_group, started.job_type, started.project) == ("a_study", "aug=flip", "terrablate")
    assert set(started.tags) == {"x", "y", "aug=flip", "synthetic data"}
    curves = [row for row in rows(folder) if "nll/val" in row]
    assert [row["epoch"] for row in curves] == ["1", "2", "3"]
    wanted = {
        "nll/val", "nll/probe", "objective/train", "gap/loss", "gap/accuracy", "accuracy/val", "accuracy/probe",
    }  # fmt: skip
    assert wanted <= set(curves[0])
    summary = {
        item.key or "/".join(item.nested_key): item.value_json
        for each in records(folder)
        if each.HasField("summary")
        for item in each.summary.update
    }
    result = record.result()
    assert result is not None
    assert float(summary["best/nll/val"]) == result["best"]["nll/val"]
    assert float(summary["deployed/accuracy/val"]) == result["deployed"]["accuracy/val"]
    assert result["overfitting"]["verdict"] in summary["overfitting/verdict"]
    attached = {name for row in rows(folder) for name in row}
    assert any("curves" in name for name in attached)
    assert any("augmentations" in name for name in attached)
    assert any("confusion/val" in name for name in attached)
    exits = [each.exit.exit_code for each in records(folder) if each.HasField("exit")]
    assert exits == [0]


def test_a_resumed_run_is_whole_in_a_fresh_file_and_the_old_one_is_superseded(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Classifier.training_step

    def interrupted(self: Classifier, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 2:
            raise RuntimeError("cut off")
        return whole(self, batch, batch_idx)

    config = compose(*TINY)
    monkeypatch.setattr(Classifier, "training_step", interrupted)
    with pytest.raises(RuntimeError, match="cut off"):
        run(config)
    (folder,) = Path(config.runs_dir).iterdir()
    (first,) = offline(Record(folder))
    assert [each.exit.exit_code for each in records(first) if each.HasField("exit")] == [1]
    monkeypatch.setattr(Classifier, "training_step", whole)
    record = run(config)
    (fresh,) = offline(record)
    assert [row["epoch"] for row in rows(fresh) if "nll/val" in row] == ["1", "2", "3"]
    assert the_run(fresh).run_id == record.folder.name
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
    started = SimpleNamespace(define_metric=lambda *_, **__: None)
    monkeypatch.setattr("wandb.init", lambda **given: asked.update(given) or started)
    make_loggers(compose(*TINY, "logger.group=mine", "logger.job_type=sort"), "id", tmp_path, [])
    assert (asked["group"], asked["job_type"]) == ("mine", "sort")
    make_loggers(compose("logger=wandb"), "id", tmp_path, [])
    assert (asked["group"], asked["job_type"], asked["tags"]) == (None, None, ["synthetic data"])
