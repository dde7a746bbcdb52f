"""Which weights a run starts from: where they are, their digest, and loading them into the built network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from terrablate.config.checks import run_folder
from terrablate.config.schema import Config, FileWeights, ImagenetWeights, RunWeights, TimmModel
from terrablate.errors import WeightsError
from terrablate.models.build import Built
from terrablate.models.timm_index import pretrained_tags
from terrablate.models.weights import (
    RGB,
    State,
    canonical,
    file_bands,
    file_sha256,
    load_weights,
    published_state,
    read_state,
)
from terrablate.training.record import Record


@dataclass(frozen=True)
class PreparedWeights:
    """Weights that are at hand, not yet read."""

    digest: str
    """sha256 of the file, or the published name."""
    load: Callable[[Built], dict[str, Any]]
    """Fills the network and returns the report for the record."""


def prepare_weights(config: Config, data_bands: list[str], image_size: int) -> PreparedWeights | None:
    """Find the weights that a config asks for; None for scratch.

    Args:
        config: of the run.
        data_bands: names of the bands of the data, in order.
        image_size: of the data, in pixels.

    Raises:
        WeightsError: if they are not there.
    """
    weights = config.weights
    bands = canonical(data_bands, config.data.rgb)
    if isinstance(weights, ImagenetWeights):
        return _published(config, weights, bands, image_size)
    if isinstance(weights, FileWeights):
        return _of_file(config, weights, bands)
    if isinstance(weights, RunWeights):
        return _of_run(config, weights, bands)
    return None


def _published(config: Config, weights: ImagenetWeights, bands: list[str], image_size: int) -> PreparedWeights:
    model = config.model
    assert isinstance(model, TimmModel)
    name = f"{model.timm_name}.{weights.tag or pretrained_tags(model.timm_name)[0]}"

    def load(built: Built) -> dict[str, Any]:
        state = published_state(weights, model, image_size)
        report = load_weights(
            built, state, origin=f"timm's {name}", bands=bands, weight_bands=RGB, partial=weights.partial
        )
        return report.plain()

    digest = file_sha256(Path(weights.file)) if weights.file is not None else f"timm:{name}"
    return PreparedWeights(digest, load)


def _of_file(config: Config, weights: FileWeights, bands: list[str]) -> PreparedWeights:
    path = Path(weights.path)
    state = read_state(path, weights.sha256)

    def load(built: Built) -> dict[str, Any]:
        expected = file_bands(weights, bands, state, built.network)
        expected = canonical(expected, config.data.rgb) if expected is not None else None
        report = load_weights(
            built, state, origin=str(path), bands=bands, weight_bands=expected, partial=weights.partial
        )
        return report.plain()

    return PreparedWeights(file_sha256(path), load)


def _of_run(config: Config, weights: RunWeights, bands: list[str]) -> PreparedWeights:
    record = Record(run_folder(config.runs_dir, weights.run))
    result = record.result()
    if result is None or not record.finished():
        raise WeightsError(f"weights.run={weights.run}: the run in {record.folder} has not finished")
    which = weights.which
    if which == "deployed":
        which = (result["deployed"] or {}).get("which", "last")
    path = record.best_checkpoint if which == "best" else record.last_checkpoint
    if not path.is_file():
        raise WeightsError(f"weights.run={weights.run}: there are no {which} weights in {record.folder}")
    theirs = yaml.safe_load((record.folder / "config.yaml").read_text(encoding="utf-8"))
    expected = canonical(result["bands"], theirs["data"]["rgb"])

    def load(built: Built) -> dict[str, Any]:
        whole = read_state(path)
        state: State = {name: value for name, value in whole.items() if name.startswith("network.")}
        report = load_weights(
            built,
            state,
            origin=f"run {record.folder.name}",
            bands=bands,
            weight_bands=expected,
            partial=weights.partial,
        )
        return report.plain()

    return PreparedWeights(file_sha256(path), load)
