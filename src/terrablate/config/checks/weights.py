"""Checks of weights and of the standardisation that goes with them."""

import difflib
from pathlib import Path

from terrablate.config.checks.data import selected_bands
from terrablate.config.schema import (
    Config,
    FileWeights,
    ImagenetWeights,
    Model,
    RunWeights,
    TimmModel,
    TorchgeoWeights,
    TorchvisionModel,
)
from terrablate.errors import ConfigError


def check_weights(config: Config) -> None:
    """Whether the weights exist that are asked for, and whether what is said about them has an effect."""
    weights = config.weights
    if config.data.normalize == "imagenet" and config.data.band_names is not None:
        check_imagenet_bands(selected_bands(config.data, config.data.band_names, config.data.rgb), config.data.rgb)
    if isinstance(weights, ImagenetWeights):
        _check_imagenet(weights, config.model)
    if isinstance(weights, TorchgeoWeights):
        _check_torchgeo(weights, config.model)
    file = weights.file if isinstance(weights, ImagenetWeights | TorchgeoWeights) else None
    if file is not None and not Path(file).is_file():
        raise ConfigError(f"weights.file={file}: there is no such file")
    if isinstance(weights, FileWeights):
        if not Path(weights.path).is_file():
            raise ConfigError(f"weights.path={weights.path}: there is no such file")
        _check_statistics(weights, config.data.normalize)
    if isinstance(weights, RunWeights):
        folder = run_folder(config.runs_dir, weights.run)
        if not (folder / "result.json").is_file():
            raise ConfigError(f"weights.run={weights.run}: there is no finished run in {folder}")


def check_imagenet_bands(bands: list[str], rgb: list[str] | None) -> None:
    """Refuse ImageNet's standardisation for bands of which it says nothing.

    Raises:
        ConfigError: if none of the bands is red, green or blue.
    """
    from terrablate.models.band_names import RGB, canonical

    if not set(canonical(bands, rgb)) & set(RGB):
        raise ConfigError(
            "data.normalize=imagenet: it has statistics of red, green and blue only, and none of the bands"
            f" {', '.join(bands)} is one of them by data.rgb; use data.normalize=dataset"
        )


def run_folder(runs_dir: str, run: str) -> Path:
    """The folder of a run that is given by its folder or by its id."""
    folder = Path(run)
    return folder if folder.is_dir() else Path(runs_dir) / run


def _check_imagenet(weights: ImagenetWeights, model: Model) -> None:
    tags = _published_tags(model)
    if not tags:
        raise ConfigError(
            f"weights=imagenet: there are no published weights for model={model.name}; use weights=scratch, or a"
            " network of timm or torchvision that has some, such as model=resnet18"
        )
    if weights.tag is not None and weights.tag not in tags:
        raise ConfigError(f"weights.tag={weights.tag}: {model.name} has the tags {', '.join(tags)}")


def _published_tags(model: Model) -> list[str]:
    from terrablate.models import timm_index, torchvision_index

    match model:
        case TimmModel():
            return timm_index.pretrained_tags(model.timm_name)
        case TorchvisionModel():
            return torchvision_index.pretrained_tags(model.torchvision_name)
    return []


def _check_torchgeo(weights: TorchgeoWeights, model: Model) -> None:
    from terrablate.models.torchgeo_index import weight_names

    names = weight_names()
    if weights.weight not in names:
        by_lower = {name.lower(): name for name in sorted(names)}
        near = difflib.get_close_matches(weights.weight.lower(), by_lower, n=3, cutoff=0.5)
        hint = (
            f"; did you mean {' or '.join(by_lower[name] for name in near)}?"
            if near
            else ", such as ResNet18_Weights.SENTINEL2_ALL_MOCO"
        )
        raise ConfigError(f"weights.weight={weights.weight}: torchgeo has no weights of this name{hint}")
    if not isinstance(model, TimmModel | TorchvisionModel):
        raise ConfigError(
            f"weights=torchgeo: its weights are of networks of timm and torchvision, not of model={model.name}; use the"
            " network that the name of the weights says, such as model=resnet18"
        )


def _check_statistics(weights: FileWeights, normalize: str) -> None:
    if (weights.mean is None) != (weights.std is None):
        raise ConfigError("weights.mean and weights.std go together: give both, or leave both at null")
    if weights.mean is None or weights.std is None:
        return
    if normalize != "auto":
        raise ConfigError(f"weights.mean: has no effect with data.normalize={normalize}; use data.normalize=auto")
    counts = {"weights.mean": len(weights.mean), "weights.std": len(weights.std)}
    if weights.bands is not None:
        counts["weights.bands"] = len(weights.bands)
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{key} has {count}" for key, count in counts.items())
        raise ConfigError(f"weights.mean: one value a band is needed, in the order of weights.bands; {found}")
