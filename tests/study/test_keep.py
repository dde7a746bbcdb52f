"""`study.keep`, and records that were damaged after they were whole, with real trainings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from terrablate.config import Config
from terrablate.training.record import Record
from terrablate.training.run import run

TINY = ("model=small_cnn", "model.width=4", "trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=8")


def checkpoints(record: Record) -> list[str]:
    return sorted(file.stem for file in (record.folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("keep", "kept"), [("both", ["best", "last"]), ("best", ["best"]), ("last", ["last"]), ("none", [])]
)
def test_a_finished_record_keeps_the_checkpoints_that_the_study_asks_for(
    tmp_path: Path, keep: str, kept: list[str]
) -> None:
    record = Record(tmp_path)
    for name in ("best", "last"):
        record.write_text(f"checkpoints/{name}.ckpt", "weights")
    record.drop_checkpoints(keep)  # type: ignore[arg-type]
    assert checkpoints(record) == kept


@pytest.mark.slow
def test_a_run_of_a_study_keeps_what_it_asks_for_and_stays_done(compose: Callable[..., Config]) -> None:
    record = run(compose(*TINY, "study.keep=best"))
    assert checkpoints(record) == ["best"]
    before = (record.folder / "result.json").stat().st_mtime_ns
    run(compose(*TINY, "study.keep=none"))
    assert checkpoints(record) == ["best"]  # another study's, which found the run done
    assert (record.folder / "result.json").stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["result.json", "both"])
def test_half_a_file_is_made_good_to_the_same_result(
    compose: Callable[..., Config], caplog: pytest.LogCaptureFixture, damaged: str
) -> None:
    """What is cut in half: the result, which is computed again; the checkpoint too, and training starts anew."""
    config = compose(*TINY)
    record = run(config)
    whole = record.result()
    for name in ("result.json", "checkpoints/last.ckpt") if damaged == "both" else (damaged,):
        content = (record.folder / name).read_bytes()
        (record.folder / name).write_bytes(content[: len(content) // 2])
    caplog.clear()
    again = run(config).result()
    said = caplog.text
    assert whole is not None
    assert again is not None
    assert {**again, "cost": None} == {**whole, "cost": None}
    assert "is damaged and does not count" in said
    assert ("training starts anew" in said) == (damaged == "both")
    assert not (record.folder / "archive").exists()
