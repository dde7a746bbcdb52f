"""What tests of weights to start from share: weights of a config made ready, and a run as short as can be."""

from typing import Any

from small_resnets import EUROSAT
from terrablate.config import Config
from terrablate.training.pretrained import PreparedWeights, prepare_weights
from terrablate.training.record import Record

CLASSES = [f"class {number}" for number in range(10)]
TINY_RUN = (
    "trainer=cpu", "trainer.threads=1", "debug.max_train_batches=1", "epochs=1", "batch_size=8", "data.image_size=32",
)  # fmt: skip


def prepared(config: Config, bands: list[str] = EUROSAT, size: int = 32) -> PreparedWeights:
    found = prepare_weights(config, bands, CLASSES, size)
    assert found is not None
    return found


def result_of(record: Record) -> dict[str, Any]:
    found = record.result()
    assert found is not None
    return found
