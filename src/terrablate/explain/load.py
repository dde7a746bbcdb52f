"""From a finished record to what is explained: its network, filled, and its val images."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from pydantic import TypeAdapter, ValidationError

from terrablate.config.schema import Config, FrozenFeatures
from terrablate.data.module import ChipDataModule
from terrablate.data.pack import ensure_pack
from terrablate.errors import ConfigError, DataError, UserError, WeightsError
from terrablate.explain.settings import Settings, chosen_weights
from terrablate.explain.subject import Subject
from terrablate.random_streams import numpy_stream
from terrablate.training.inputs import Inputs
from terrablate.training.record import Record
from terrablate.training.reload import rebuilt
from terrablate.training.task import task_of

_CHECKED = 128
"""Images whose logits are compared with those of the record."""
_TOLERANCE = 0.02
"""Mean distance from the logits of the record, in units of their deviation; bf16 rounds to about 0.004."""


def load_subject(settings: Settings) -> Subject:
    """The network of a run with the weights that are asked for, and its val images.

    Raises:
        UserError: if record, weights or data are not what the run had.
    """
    which, checkpoint = chosen_weights(settings)
    record = Record(settings.folder)
    result = record.result()
    assert result is not None
    config = config_of(record.folder)
    if settings.data_root is not None:
        config.data.root = settings.data_root
    data = ChipDataModule(config, ensure_pack(config.data, Path(settings.packs_dir)))
    stored = _predictions(record.folder, which)
    if data.sample_ids("val") != stored["ids"].tolist() or not np.array_equal(
        data.images("val").labels, stored["labels"]
    ):
        raise DataError(
            f"run={settings.run}: the val images in data.root={config.data.root} are not those of the run;"
            " data_root=... says where these are"
        )
    device = _device(settings)
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        network = rebuilt(content, config, data.pack)
    except (WeightsError, ConfigError):
        raise
    except Exception as error:  # torch's reader fails in many ways on a damaged file
        raise UserError(f"{checkpoint}: is damaged, or holds the weights of another network") from error
    center, spread = result["normalization"]["center"], result["normalization"]["spread"]
    count = len(stored["labels"])
    draws = numpy_stream(settings.seed, "explain/sample")
    sample = np.sort(draws.permutation(count)[: settings.sample])
    subject = Subject(
        network=network.eval().to(device),
        inputs=Inputs(config.data.scale, config.data.offset, center, spread).to(device),
        images=data.images("val"),
        logits=torch.from_numpy(stored[f"logits_{which}"]).float(),
        task=task_of(config.data),
        classes=data.pack.classes,
        bands=data.pack.bands,
        rgb=config.data.rgb,
        name=f"{record.folder.name}, {which} weights" + (", synthetic data" if result.get("synthetic") else ""),
        device=device,
        sample=sample,
        head_answers=not isinstance(config.finetune, FrozenFeatures),
    )
    _require_same(subject, record.folder)
    return subject


def config_of(folder: Path) -> Config:
    """The config of a record; what it names besides the data need not be there any more.

    Raises:
        UserError: if it cannot be read, or is of another version.
    """
    path = folder / "config.yaml"
    try:
        return TypeAdapter(Config).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{path}: was written by another version: {where}: {first['msg']}") from error


def _predictions(folder: Path, which: str) -> dict[str, Any]:
    path = folder / "val_predictions.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("ids", "labels", f"logits_{which}")}
    except FileNotFoundError as error:
        raise UserError(f"{path}: is not there; train.py with force=true trains the run anew") from error
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"{path}: is damaged; train.py with force=true trains the run anew") from error


def _device(settings: Settings) -> torch.device:
    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("accelerator=gpu: there is no GPU that torch can use; accelerator=cpu works everywhere")
    return torch.device("cuda" if settings.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _require_same(subject: Subject, folder: Path) -> None:
    """What is explained must be what gave the record's answers.

    Raises:
        UserError: if the network gives other val logits.
    """
    if not subject.head_answers:
        return
    some = cast("np.ndarray[Any, np.dtype[np.int64]]", subject.sample[:_CHECKED])
    with torch.inference_mode():
        logits = torch.cat([subject.network(images).float().cpu() for images in subject.batches(some)])
    expected = subject.logits[torch.from_numpy(some)]
    unit = float(subject.logits.std()) or 1.0
    if logits.shape != expected.shape or float((logits - expected).abs().mean()) > _TOLERANCE * unit:
        raise UserError(
            f"{folder}: its weights do not give its val predictions any more, so there is nothing to explain; train.py"
            " with force=true trains the run anew"
        )
