"""What stands in TensorBoard's event files: the same names as in W&B, once each, also after a cut-off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.training.logged import curves
from terrablate.training.record import Record
from terrablate.training.run import run
from terrablate.training.tensorboard_curves import confusion_picture

TINY = (
    "model=small_cnn", "model.width=4", "epochs=3", "batch_size=16", "trainer=cpu", "trainer.threads=1",
    "trainer.checkpoint_seconds=0", "logger=tensorboard", "eval_every=2",
    "study.name=a_study", "study.member.variant='aug=flip'", "study.member.levels={aug:flip,optim.lr:'0.1'}",
)  # fmt: skip


def read(record: Record) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(record.folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return accumulator.Reload()


def epochs(events: Any, name: str) -> list[int]:
    return [event.step for event in events.Scalars(name)]


def rows(record: Record) -> list[dict[str, Any]]:
    import csv

    with (record.folder / "metrics.csv").open() as file:
        return [{name: float(value) if value else None for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_finished_run_stands_whole_in_one_event_file(compose: Callable[..., Config]) -> None:
    record = run(compose(*TINY))
    assert len(list((record.folder / "tensorboard").iterdir())) == 1
    events = read(record)
    logged: dict[str, dict[int, float]] = {}
    for row in rows(record):
        for name, value in curves(row).items():
            logged.setdefault(name, {})[int(row["epoch"])] = value
    del logged["epoch"]
    assert set(logged["nll/val"]) == {2, 3}
    for name, values in logged.items():
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(values, rel=1e-6)
    result = record.result()
    assert result is not None
    summary = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"] if tag.startswith("summary/")}
    assert summary["summary/deployed/accuracy/val"] == pytest.approx(result["deployed"]["accuracy/val"])
    assert summary["summary/cost/parameters"] == result["cost"]["parameters"]
    images = set(events.Tags()["images"])
    assert {"pictures/curves", "pictures/augmentations", "errors/confusion", "errors/worst_00"} <= images
    words = events.Tensors("summary/text_summary")[0].tensor_proto.string_val[0].decode()
    assert result["overfitting"]["sentence"] in words


def test_hyperparameters_stand_beside_what_the_run_comes_to(compose: Callable[..., Config]) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = read(run(compose(*TINY, "epochs=1")))
    found = {
        tag: HParamsPluginData.FromString(content) for tag, content in events.PluginTagToContent("hparams").items()
    }
    told = found["_hparams_/session_start_info"].session_start_info.hparams
    assert told["variant"].string_value == "aug=flip"
    assert told["levels.aug"].string_value == "flip"
    assert told["levels.optim_lr"].number_value == pytest.approx(0.1)
    assert told["model.width"].number_value == 4
    assert "runs_dir" not in told
    metrics = {info.name.tag for info in found["_hparams_/experiment"].experiment.metric_infos}
    assert "summary/deployed/nll/val" in metrics
    assert metrics <= set(events.Tags()["scalars"])


def test_a_resumed_run_has_each_epoch_once(compose: Callable[..., Config], cut_off: Callable[[Config], Record]) -> None:
    config = compose(*TINY)
    assert epochs(read(cut_off(config)), "objective/train") == [1, 2]
    events = read(run(config))
    assert epochs(events, "objective/train") == [1, 2, 3]
    assert epochs(events, "nll/val") == [2, 3]


def test_the_logger_leaves_the_identity_of_a_run_as_it_was(compose: Callable[..., Config]) -> None:
    from terrablate.config.identity import config_digest

    assert config_digest(compose(*TINY)) == config_digest(compose(*TINY, "logger=csv"))


def test_several_labels_and_a_diverged_run_are_logged(compose: Callable[..., Config]) -> None:
    several = run(compose(*TINY, "data=synthetic_multilabel", "loss=bce"))
    tags = read(several).Tags()
    assert "val/f1_macro" in tags["scalars"]
    assert "errors/worst_00" in tags["images"]
    assert "errors/confusion" not in tags["images"]
    diverged = run(compose(*TINY, "optim=sgd", "optim.lr=1e30"))
    result = diverged.result()
    assert result is not None
    assert result["status"] == "diverged"
    words = read(diverged).Tensors("summary/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "diverged" in words


def test_it_is_said_when_tensorboard_is_not_installed(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    import terrablate.config.checks.logger as checks

    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"logger=tensorboard: is not installed; .*uv sync --extra tensorboard"):
        compose("logger=tensorboard")
    assert compose("logger=csv").logger.name == "csv"


def test_the_picture_of_a_confusion_is_dark_on_its_diagonal_and_takes_any_names() -> None:
    names = ["$a$", "<script>", "a name that is by far too long to stand there"]
    right = confusion_picture([[9, 0, 0], [0, 9, 0], [0, 0, 9]], names)
    assert right.dtype == np.uint8
    assert right.shape[2] == 3
    wrong = confusion_picture([[0, 9, 0], [9, 0, 0], [0, 0, 9]], names)
    assert (right != wrong).any()
    assert confusion_picture(np.eye(100, dtype=int).tolist(), list(map(str, range(100)))).shape[0] > 500
