"""`robustness=true`: val under graded shifts, evaluated with the deployed weights of a finished run.

The run is not touched: its network is built anew from its record, and what is found stands in files of its own,
`robustness.json` and `robustness.png`. The same command finds them done.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from terrablate.augment.shifts import SHIFTS, Shift, shifted
from terrablate.config.identity import Hardware
from terrablate.config.schema import Config
from terrablate.data.batches import Images
from terrablate.data.module import ChipDataModule
from terrablate.errors import UserError
from terrablate.random_streams import stream_seed
from terrablate.training.hardware import HALF_PRECISION, device_name
from terrablate.training.inputs import Inputs
from terrablate.training.record import Record
from terrablate.training.reload import deployed
from terrablate.training.robustness_figure import draw_robustness
from terrablate.training.task import ONE_LABEL, Task, task_of

logger = logging.getLogger(__name__)

FILE, PICTURE = "robustness.json", "robustness.png"
SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_BATCH = 256
"""Images a forward pass. Directions and noise are drawn for each batch, so another size would be other images."""
_TOLERANCE = 0.02
"""Mean distance from the logits of the record, in units of their deviation; bf16 rounds to about 0.004."""


type Predict = Callable[[torch.Tensor], torch.Tensor]
"""Images n,C,H,W on the sensor's scale to logits n,K."""


def add_robustness(record: Record, config: Config, data: ChipDataModule, hardware: Hardware, code: str) -> None:
    """Evaluate the robustness of a finished run and write it down, unless this was done by the same code.

    Args:
        record: finished.
        config: of the run.
        data: of the run.
        hardware: of the run.
        code: identity of the code that evaluates.

    Raises:
        UserError: if the record does not give its own predictions any more, or cannot be written.
    """
    result = record.result()
    if result is None or result["deployed"] is None or result["deployed"]["nll/val"] is None:
        logger.warning("robustness=true: the deployed weights give no finite numbers, so there is nothing to evaluate")
        return
    if _is_done(record, config, code):
        logger.info("robustness was evaluated before: %s", record.folder / FILE)
        return
    passes = 1 + len(SHIFTS) * (len(SEVERITIES) - 1)
    logger.info("robustness: evaluating the %d images of val %d times", len(data.val_indices), passes)
    content = evaluate_robustness(record, config, data, hardware) | {"code": code}
    try:
        record.write(PICTURE, lambda file: draw_robustness(file, record.folder.name, content))
        record.write_json(FILE, content)  # last: it makes the evaluation count
    except OSError as error:
        raise UserError(f"{record.folder / FILE}: {error.strerror or error}; the run itself stands") from error
    logger.info("%s", _sentence(content))


def evaluate_robustness(record: Record, config: Config, data: ChipDataModule, hardware: Hardware) -> dict[str, Any]:
    """Curves of val accuracy and NLL against the severity of each shift, with the deployed weights of a record.

    Raises:
        UserError: if the network that is built from the record does not give the val logits that stand in it.
    """
    began = time.monotonic()
    device = torch.device(hardware.accelerator)
    network, inputs = deployed(record, config, data.pack)
    network, inputs = network.to(device), inputs.to(device)
    half = HALF_PRECISION.get(hardware.precision)

    def predict(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hardware.accelerator, half) if half else nullcontext():
            return network(inputs.standardise(images))

    val, task = data.images("val"), task_of(config.data)
    spread = torch.tensor(data.pack.std / config.data.scale, dtype=torch.float32)
    result = record.result()
    assert result is not None
    which = result["deployed"]["which"]
    expected = torch.from_numpy(np.load(record.folder / "val_predictions.npz")[f"logits_{which}"])
    with torch.inference_mode():
        logits = torch.cat([predict(images).float().cpu() for images in _batches(val, inputs, device)])
        _require_same(logits, expected, record)
        found = shift_curves(
            predict,
            lambda: _batches(val, inputs, device),
            torch.from_numpy(val.labels),
            spread,
            seed=config.data.split_seed,
            unshifted=task.curves(logits, torch.from_numpy(val.labels)),
            task=task,
        )
    passes = 1 + len(SHIFTS) * (len(SEVERITIES) - 1)
    seconds = time.monotonic() - began
    return {
        "run_id": record.folder.name,
        "deployed": {"which": which, "epoch": result["deployed"]["epoch"]},
        "synthetic": config.data.source == "synthetic",
        "images": len(val),
        "accuracy_name": task.accuracy_name,
        "split_seed": config.data.split_seed,
        **found,
        "cost": {
            "seconds": seconds,
            "images_per_second": passes * len(val) / max(seconds, 1e-9),
            "device": device_name(hardware.accelerator),
        },
    }


def shift_curves(
    predict: Predict,
    batches: Callable[[], Iterable[torch.Tensor]],
    labels: torch.Tensor,
    spread: torch.Tensor,
    *,
    seed: int,
    unshifted: dict[str, float],
    task: Task = ONE_LABEL,
) -> dict[str, Any]:
    """Accuracy and NLL of any classifier under each shift at each severity.

    Args:
        predict: images n,C,H,W on the sensor's scale to logits n,K.
        batches: gives those images anew each time it is called, always in the same batches.
        labels: of all images.
        spread: C, deviation of each band in the training data, on the scale of the images.
        seed: of the directions and the noise; the split's, so that all runs on these data see the same images.
        unshifted: `accuracy` and `nll` of the images as they are.
        task: what the labels ask for.

    Returns:
        `unshifted`; `shifts`, by name: `unit`, `meaning`, lists `severity`, `amount`, `accuracy`, `nll`, from severity
        0 on, and what sums them up: `mean_accuracy` and `mean_nll` (area under the curve over severities from 0 to 1),
        `accuracy_lost` and `nll_gained` (strongest shift against none); and `summary`, their means over shifts.
    """
    curves: dict[str, dict[str, Any]] = {}
    for shift in SHIFTS:
        points = [unshifted]
        for severity in SEVERITIES[1:]:
            seen = _moved(batches(), shift, severity, spread, seed)
            points.append(task.curves(torch.cat([predict(images).float().cpu() for images in seen]), labels))
        curves[shift.name] = {
            "unit": shift.unit,
            "meaning": shift.meaning,
            "severity": list(SEVERITIES),
            "amount": [shift.amount(severity) for severity in SEVERITIES],
            "accuracy": [point["accuracy"] for point in points],
            "nll": [point["nll"] for point in points],
        }
    sums = {name: _sums(curve["accuracy"], curve["nll"]) for name, curve in curves.items()}
    return {
        "unshifted": unshifted,
        "summary": {key: sum(each[key] for each in sums.values()) / len(sums) for key in next(iter(sums.values()))},
        "shifts": {name: curve | sums[name] for name, curve in curves.items()},
    }


def _sums(accuracy: Sequence[float], nll: Sequence[float]) -> dict[str, float]:
    return {
        "mean_accuracy": _area(accuracy),
        "mean_nll": _area(nll),
        "accuracy_lost": accuracy[0] - accuracy[-1],
        "nll_gained": nll[-1] - nll[0],
    }


def _moved(
    batches: Iterable[torch.Tensor], shift: Shift, severity: float, spread: torch.Tensor, seed: int
) -> Iterator[torch.Tensor]:
    """The same directions at each severity; other ones for each shift and batch."""
    for number, images in enumerate(batches):
        generator = torch.Generator().manual_seed(stream_seed(seed, f"shift/{shift.name}", number))
        yield shifted(shift, images, severity, generator, spread)


def _batches(images: Images, inputs: Inputs, device: torch.device) -> Iterator[torch.Tensor]:
    """All images in their order on the sensor's scale; one process evaluates all of them."""
    for start in range(0, len(images), _BATCH):
        positions = np.arange(start, min(start + _BATCH, len(images)))
        yield inputs.scale(images.take(positions)["image"].to(device))


def _require_same(logits: torch.Tensor, expected: torch.Tensor, record: Record) -> None:
    if logits.shape == expected.shape:
        unit = float(expected.std()) or 1.0
        if float((logits - expected).abs().mean()) <= _TOLERANCE * unit:
            return
    raise UserError(
        f"{record.folder}: its weights do not give its val predictions any more, so its robustness cannot be told;"
        " force=true trains it anew"
    )


def _area(curve: Sequence[float]) -> float:
    """Under a curve over `SEVERITIES`, by trapezoids: its mean, since they go from 0 to 1."""
    return float(np.trapezoid(curve, SEVERITIES))


def _is_done(record: Record, config: Config, code: str) -> bool:
    path = record.folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (json.JSONDecodeError, UnicodeDecodeError):
        logger.warning("%s is damaged and does not count", path)
        return False
    return bool(config.code == "any" or content["code"] == code)


def _sentence(content: dict[str, Any]) -> str:
    losses = {name: curve["accuracy_lost"] for name, curve in content["shifts"].items()}
    worst = max(losses, key=losses.__getitem__)
    return (
        f"robustness: val {content['accuracy_name']} {content['unshifted']['accuracy']:.3f}, over all shifts"
        f" {content['summary']['mean_accuracy']:.3f}; most is lost to {worst} ({-losses[worst]:+.3f} at its strongest)"
    )
