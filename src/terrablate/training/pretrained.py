"""Which weights a run starts from: where they are, their digest, and loading them into the built network."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from terrablate.config.checks import run_folder
from terrablate.config.schema import (
    BatchNorm,
    Config,
    FileWeights,
    ImagenetWeights,
    NativeNorm,
    Norm,
    RunWeights,
    TimmModel,
    TorchgeoWeights,
    TorchvisionModel,
)
from terrablate.errors import WeightsError
from terrablate.models import timm_index, torchvision_index
from terrablate.models.band_names import canonical
from terrablate.models.build import Built
from terrablate.models.pruning import Cut, replay
from terrablate.models.published import Published, timm_weights, torchgeo_weights, torchvision_weights
from terrablate.models.weight_files import file_sha256, read_state
from terrablate.models.weight_statistics import WeightStatistics
from terrablate.models.weights import file_bands, load_weights
from terrablate.training.record import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedWeights:
    """What is known once weights stand in the network."""

    report: dict[str, Any]
    """For the record: what was loaded, adapted, left out and re-initialised."""
    statistics: WeightStatistics | None
    """The standardisation under which they were trained, where it is known."""
    cuts: list[Cut] = field(default_factory=list)
    """Channels that were removed from the network, because they had been where the weights come from."""


@dataclass(frozen=True)
class PreparedWeights:
    """Weights that are at hand, not yet read."""

    digest: str
    """sha256 of the file, or the published name."""
    load: Callable[[Built], LoadedWeights]
    """Fills the network."""


def prepare_weights(
    config: Config, data_bands: list[str], classes: list[str], image_size: int
) -> PreparedWeights | None:
    """Find the weights that a config asks for; None for scratch.

    Args:
        config: of the run.
        data_bands: names of the bands of the data, in order.
        classes: of the data, in order.
        image_size: of the data, in pixels.

    Raises:
        WeightsError: if they are not there.
    """
    weights = config.weights
    bands = canonical(data_bands, config.data.rgb)
    if isinstance(weights, ImagenetWeights | TorchgeoWeights):
        return _published(config, weights, bands, image_size)
    if isinstance(weights, FileWeights):
        return _of_file(config, weights, bands)
    if isinstance(weights, RunWeights):
        return _of_run(config, weights, bands, classes)
    return None


def check_frozen_statistics(norm: Norm, loaded: LoadedWeights) -> None:
    """Statistics that stay as they are must have come with the weights.

    Raises:
        WeightsError: if a layer whose statistics are frozen has none in the weights.
    """
    if not (isinstance(norm, NativeNorm | BatchNorm) and norm.frozen):
        return
    missing = [name for name in loaded.report["initialised"] if name.endswith("running_mean")]
    if missing:
        raise WeightsError(
            f"norm.frozen=true: the weights have no running statistics for {len(missing)} layers, such as"
            f" {missing[0].removesuffix('.running_mean')}, which would stay at 0 and 1; use norm.frozen=false"
        )


def _published(
    config: Config, weights: ImagenetWeights | TorchgeoWeights, bands: list[str], image_size: int
) -> PreparedWeights:
    def load(built: Built) -> LoadedWeights:
        published = _fetch(config, weights, image_size)
        report = load_weights(
            built,
            published.state,
            origin=published.name,
            bands=bands,
            weight_bands=published.bands,
            stem=weights.stem,
            partial=weights.partial,
            keeps_head=False,
            trained_size=published.trained_size,
        )
        _offer_size(published.trained_size, image_size)
        return LoadedWeights(report.plain(), published.statistics)

    return PreparedWeights(_digest(config, weights), load)


def _fetch(config: Config, weights: ImagenetWeights | TorchgeoWeights, image_size: int) -> Published:
    if isinstance(weights, TorchgeoWeights):
        return torchgeo_weights(weights, config.data.band_names)
    if isinstance(config.model, TorchvisionModel):
        return torchvision_weights(weights, config.model)
    assert isinstance(config.model, TimmModel)  # as checked with the config
    return timm_weights(weights, config.model, image_size)


def _digest(config: Config, weights: ImagenetWeights | TorchgeoWeights) -> str:
    """Of the file, or the name under which the weights are published."""
    if weights.file is not None:
        return file_sha256(Path(weights.file))
    if isinstance(weights, TorchgeoWeights):
        return f"torchgeo:{weights.weight}"
    model = config.model
    if isinstance(model, TorchvisionModel):
        name, tags = model.torchvision_name, torchvision_index.pretrained_tags(model.torchvision_name)
        return f"torchvision:{name}.{weights.tag or tags[0]}"
    assert isinstance(model, TimmModel)
    return f"timm:{model.timm_name}.{weights.tag or timm_index.pretrained_tags(model.timm_name)[0]}"


def _offer_size(trained: int | None, given: int) -> None:
    if trained is not None and trained != given:
        logger.info(
            "weights: trained on %d pixels, the data have %d; data.image_size=%d resizes them%s",
            trained, given, trained, " (slower, often better)" if trained > given else "",
        )  # fmt: skip


def _of_file(config: Config, weights: FileWeights, bands: list[str]) -> PreparedWeights:
    path = Path(weights.path)
    state = read_state(path, weights.sha256)

    def load(built: Built) -> LoadedWeights:
        expected = file_bands(weights.bands, bands, state, built.network)
        expected = canonical(expected, config.data.rgb) if expected is not None else None
        report = load_weights(
            built,
            state,
            origin=str(path),
            bands=bands,
            weight_bands=expected,
            stem=weights.stem,
            partial=weights.partial,
            keeps_head=weights.head == "keep",
        )
        return LoadedWeights(report.plain(), _told_statistics(weights, expected))

    return PreparedWeights(file_sha256(path), load)


def _told_statistics(weights: FileWeights, bands: list[str] | None) -> WeightStatistics | None:
    """Those that the config gives for a file."""
    if weights.mean is None or weights.std is None:
        return None
    if bands is None or len(bands) != len(weights.mean):
        known = "unknown" if bands is None else ", ".join(bands)
        raise WeightsError(
            f"weights.mean: has {len(weights.mean)} values, the bands of the weights are {known}; say which they are"
            " with weights.bands=[...]"
        )
    return WeightStatistics(tuple(bands), tuple(weights.mean), tuple(weights.std), "scaled")


def _of_run(config: Config, weights: RunWeights, bands: list[str], classes: list[str]) -> PreparedWeights:
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
    theirs = yaml.safe_load((record.folder / "config.yaml").read_text(encoding="utf-8"))["data"]
    expected = canonical(result["bands"], theirs["rgb"])
    # a run on frozen features fitted its classifier apart and left the head untrained
    same_task = result["classes"] == classes and result["levels"]["finetune"] != "frozen_features"

    def load(built: Built) -> LoadedWeights:
        whole = read_state(path)
        cuts = replay(built.network, torch.load(path, map_location="cpu", weights_only=True), f"run {weights.run}")
        report = load_weights(
            built,
            {name: value for name, value in whole.items() if name.startswith("network.")},
            origin=f"run {record.folder.name}",
            bands=bands,
            weight_bands=expected,
            stem=weights.stem,
            partial=weights.partial,
            keeps_head=weights.head == "auto" and same_task,
        )
        return LoadedWeights(report.plain(), _recorded_statistics(result, theirs, expected, config.data.scale), cuts)

    return PreparedWeights(file_sha256(path), load)


def _recorded_statistics(
    result: dict[str, Any], theirs: dict[str, Any], bands: list[str], scale: float
) -> WeightStatistics | None:
    """The standardisation of another run; it means nothing on data of another scale."""
    recorded = result.get("normalization")
    if recorded is None or theirs["scale"] != scale:
        logger.info(
            "weights.run: its standardisation is %s; with data.normalize=auto the train split's is taken",
            "not recorded" if recorded is None else f"for data.scale={theirs['scale']:g}, these have {scale:g}",
        )
        return None
    if recorded["center"] is None:
        return WeightStatistics(tuple(bands), (0.0,) * len(bands), (1.0,) * len(bands), "scaled")
    return WeightStatistics(
        tuple(bands),
        tuple((center + theirs["offset"]) / scale for center in recorded["center"]),
        tuple((spread or scale) / scale for spread in recorded["spread"]),  # a band that never varies keeps its scale
        "scaled",
    )
