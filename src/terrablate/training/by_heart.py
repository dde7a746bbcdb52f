"""Whether a run that is to learn its training images by heart has done so."""

from collections.abc import Sequence
from typing import Any

from terrablate.training.overfitting import Evaluation


def by_heart(evaluations: Sequence[Evaluation], images: int) -> dict[str, Any]:
    """When probe accuracy was 1 first, or how near to it the run came, and the same in a sentence.

    Args:
        evaluations: of the run, at least one.
        images: of the probe.

    Returns:
        `epoch` (None where it was never reached), `accuracy` (the highest of the probe), `sentence`.
    """
    first = next((each.epoch for each in evaluations if each.accuracy_probe == 1.0), None)
    highest = max(each.accuracy_probe for each in evaluations)
    if first is not None:
        sentence = f"all {images} training images of the probe were right at epoch {first}"
    else:
        sentence = (
            f"at most {round(highest * images)} of the {images} training images of the probe were right in"
            f" {evaluations[-1].epoch} epochs; a network that cannot learn so few by heart is broken, or its learning"
            " rate is wrong, or what it sees is changed too much"
        )
    return {"epoch": first, "accuracy": highest, "sentence": sentence}
