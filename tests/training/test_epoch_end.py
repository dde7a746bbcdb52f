"""What an evaluation adds to the row of its epoch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from terrablate.config import Config
from terrablate.training import epoch_end
from terrablate.training.epoch_end import EpochEnd, columns, read_at_once, scores
from terrablate.training.run import run
from terrablate.training.task import SEVERAL_LABELS


@pytest.mark.parametrize("num_classes", [3, 7])
def test_a_row_has_the_same_columns_in_the_same_order_whether_evaluated_or_not(num_classes: int) -> None:
    """`metrics.csv` is written a row at a time."""
    logits = {"val": torch.randn(8, num_classes), "probe": torch.randn(5, num_classes)}
    labels = {"val": torch.arange(8) % num_classes, "probe": torch.arange(5) % num_classes}
    assert list(scores(logits, labels)) == columns(num_classes)


def test_a_row_of_several_labels_has_its_own_columns_in_the_same_order() -> None:
    logits = {"val": torch.randn(8, 4), "probe": torch.randn(5, 4)}
    labels = {name: (each > 0.3).to(torch.uint8) for name, each in logits.items()}
    found = columns(4, SEVERAL_LABELS)
    assert list(scores(logits, labels, SEVERAL_LABELS)) == found
    assert found[:3] == ["nll/val", "accuracy/val", "label_accuracy/val"]


def test_gaps_are_positive_where_val_is_worse() -> None:
    sure = torch.eye(3) * 9
    found = scores({"val": -sure, "probe": sure}, {"val": torch.arange(3), "probe": torch.arange(3)})
    assert found["gap/accuracy"] == 1.0
    assert found["nll/val"] is not None
    assert found["nll/probe"] is not None
    assert found["gap/loss"] == pytest.approx(found["nll/val"] - found["nll/probe"])
    assert found["gap/loss"] > 8


def test_what_is_read_at_once_is_what_was_there() -> None:
    values = {"sum": torch.tensor(0.1), "logits": torch.randn(4, 3), "half": torch.randn(2).bfloat16()}
    found = read_at_once(values)
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


class _Waits(TorchDispatchMode):
    """Notes each operation that makes the CPU wait for what a device computes."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self._notes = notes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self._notes.append("wait")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("eval_every", [1, 2])
def test_an_epoch_waits_for_the_device_once(
    compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, eval_every: int
) -> None:
    """Everything that is read from tensors is read off the one transfer of the epoch, which brought it to the CPU."""
    notes: list[str] = []

    def noted(owner: Any, name: str, note: str) -> None:
        inner = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            notes.append(note)
            return result

        monkeypatch.setattr(owner, name, call)

    for name in ("tolist", "numpy", "cpu"):
        noted(torch.Tensor, name, "wait")
    noted(epoch_end, "read_at_once", "read")
    noted(EpochEnd, "on_train_epoch_start", "start")
    noted(EpochEnd, "on_train_epoch_end", "end")
    config = compose(
        "model=small_cnn", "model.width=4", "optim=momentum", "aug=flip", "epochs=4", f"eval_every={eval_every}",
        "batch_size=8", "trainer=cpu", "trainer.threads=1", "trainer.checkpoint_seconds=1000",
    )  # fmt: skip
    with _Waits(notes):
        run(config)
    epochs = " ".join(notes).split("start")[1:5]
    assert len(epochs) == 4
    for number, epoch in enumerate(epochs, 1):
        words = epoch.partition("end")[0].split()
        if number % eval_every:
            assert words == ["wait"]  # for the objective
        else:
            assert words[:2] == ["wait", "read"]  # the transfer; what comes after works on the CPU
