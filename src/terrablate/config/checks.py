"""Checks across groups: combinations that are well typed and cannot work. No torch, no data read."""

import difflib
from pathlib import Path

from terrablate.config.schema import (
    Config,
    Data,
    FileWeights,
    FolderData,
    ImagenetWeights,
    LeNetModel,
    RunWeights,
    SmallCNNModel,
    SyntheticData,
    TimmModel,
    TorchgeoData,
)
from terrablate.errors import ConfigError

SMALLEST_SIZE = {"lenet": 16, "small_cnn": 16}
"""Smallest side in pixels that the poolings of our own networks leave something of."""


def check(config: Config) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: names the keys, what was given and what is allowed.
    """
    _check_bands(config.data)
    _check_data(config)
    _check_model(config)
    _check_weights(config)
    _check_training(config)


def selected_bands(data: Data, names: list[str], rgb: list[str] | None) -> list[str]:
    """The bands that `data.bands` asks for, by name, out of those that the source has.

    Raises:
        ConfigError: if a band does not exist, or stands twice.
    """
    if data.bands == "all":
        return list(names)
    if data.bands == "rgb":
        if not rgb:
            raise ConfigError(f"data.bands=rgb: data.rgb must name three of the bands {', '.join(names)}")
        return list(rgb)
    wanted = [data.bands] if isinstance(data.bands, str) else list(data.bands)
    unknown = [band for band in wanted if band not in names]
    allowed = f"allowed: all, rgb or some of {', '.join(names)}"
    if not wanted:
        raise ConfigError(f"data.bands=[]: no band is named; {allowed}")
    if unknown:
        raise ConfigError(f"data.bands: {data.name} has no band {', '.join(unknown)}; {allowed}")
    if len(set(wanted)) < len(wanted):
        raise ConfigError(f"data.bands=[{', '.join(wanted)}]: a band stands twice")
    return wanted


def _check_bands(data: Data) -> None:
    if data.band_names is not None:
        if len(set(data.band_names)) < len(data.band_names):
            raise ConfigError(f"data.band_names=[{', '.join(data.band_names)}]: a name stands twice")
        if data.rgb is not None and not (
            len(set(data.rgb)) == len(data.rgb) == 3 and set(data.rgb) <= set(data.band_names)
        ):
            raise ConfigError(
                f"data.rgb=[{', '.join(data.rgb)}]: it must name three of the bands {', '.join(data.band_names)}"
            )
        selected_bands(data, data.band_names, data.rgb)


def _check_data(config: Config) -> None:
    data = config.data
    if isinstance(data, TorchgeoData) and not data.download:
        folder = Path(data.root) / data.subfolder
        if not folder.is_dir() and not _packed(config):
            raise ConfigError(
                f"data.root={data.root}: there is no folder {folder}; put {data.dataset} there, point data.root"
                " (or DATA_DIR) to the folder above it, or let torchgeo fetch it with data.download=true"
            )
    if isinstance(data, SyntheticData) and data.on_error == "skip":
        raise ConfigError("data.on_error=skip: synthetic scenes are never unreadable; leave it at raise")
    if isinstance(data, FolderData):
        _check_folder(data, packed=_packed(config))


def _packed(config: Config) -> bool:
    """Whether packs are at hand that may stand in for an absent source."""
    return Path(config.packs_dir).is_dir() and any(Path(config.packs_dir).glob(f"{config.data.name}-*"))


def _check_folder(data: FolderData, *, packed: bool) -> None:
    folder = Path(data.root) / data.subfolder
    if not folder.is_dir() and not packed:
        raise ConfigError(
            f"data.root={data.root}: there is no folder {folder}; it must hold <class>/* or"
            " {train,val,test}/<class>/*"
        )
    if (data.fold is None) != (data.folds is None):
        raise ConfigError(
            f"data.fold={data.fold} data.folds={data.folds}: k-fold needs both, such as data.fold=0 data.folds=5"
        )
    if data.fold is not None and data.folds is not None and data.fold >= data.folds:
        raise ConfigError(f"data.fold={data.fold}: expected 0 to {data.folds - 1}, since data.folds={data.folds}")
    lists = [data.train_list, data.val_list, data.test_list]
    if any(lists) and not (data.train_list and data.val_list):
        raise ConfigError("data.train_list and data.val_list go together; data.test_list may be left out")
    if data.split_by == "group" and (data.group_pattern is None) == (data.group_csv is None):
        raise ConfigError("data.split_by=group: give either data.group_pattern or data.group_csv")
    if data.split_by == "block" and data.block_size is None:
        raise ConfigError("data.split_by=block: give data.block_size, the side of a block in units of the images' CRS")
    if abs(sum(data.fractions) - 1) > 1e-6 or data.fractions[0] == 0 or (data.fractions[1] == 0 and data.folds is None):
        raise ConfigError(f"data.fractions={data.fractions}: train, val, test must add up to 1, train and val not 0")


def _check_model(config: Config) -> None:
    model, data = config.model, config.data
    if isinstance(model, TimmModel):
        from terrablate.models.timm_index import model_names

        names = model_names()
        if model.timm_name not in names:
            near = difflib.get_close_matches(model.timm_name, names, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"model.timm_name={model.timm_name}: timm has no network of this name{hint}")
        reserved = {"in_chans", "num_classes", "pretrained", "features_only"} & set(model.kwargs)
        if reserved:
            raise ConfigError(f"model.kwargs: {', '.join(sorted(reserved))} is set by data and weights; leave it out")
    size = data.image_size or data.native_size
    smallest = SMALLEST_SIZE.get(model.builder)
    if isinstance(model, LeNetModel | SmallCNNModel) and smallest and size is not None and size < smallest:
        raise ConfigError(f"model={model.name}: needs images of at least {smallest} pixels a side, data gives {size}")
    if config.dropout.name == "head" and config.dropout.p is None:
        raise ConfigError("dropout.p: dropout=head needs a rate between 0 and 1")
    if config.norm.name == "batch" and config.batch_size < 2:
        raise ConfigError("batch_size=1: batch normalisation cannot learn from one image; use at least 2, or norm=none")


def _check_weights(config: Config) -> None:
    weights, model = config.weights, config.model
    if isinstance(weights, ImagenetWeights):
        from terrablate.models.timm_index import pretrained_tags

        tags = pretrained_tags(model.timm_name) if isinstance(model, TimmModel) else []
        if not tags:
            raise ConfigError(
                f"weights=imagenet: there are no published weights for model={model.name};"
                " use weights=scratch, or a network of timm that has some, such as model=resnet18"
            )
        if weights.tag is not None and weights.tag not in tags:
            raise ConfigError(f"weights.tag={weights.tag}: {model.name} has the tags {', '.join(tags)}")
        if weights.file is not None and not Path(weights.file).is_file():
            raise ConfigError(f"weights.file={weights.file}: there is no such file")
    if isinstance(weights, FileWeights) and not Path(weights.path).is_file():
        raise ConfigError(f"weights.path={weights.path}: there is no such file")
    if isinstance(weights, RunWeights):
        folder = run_folder(config.runs_dir, weights.run)
        if not (folder / "result.json").is_file():
            raise ConfigError(f"weights.run={weights.run}: there is no finished run in {folder}")


def run_folder(runs_dir: str, run: str) -> Path:
    """The folder of a run that is given by its folder or by its id."""
    folder = Path(run)
    return folder if folder.is_dir() else Path(runs_dir) / run


def _check_training(config: Config) -> None:
    trainer = config.trainer
    if isinstance(trainer.devices, int):
        if trainer.devices > 1 and trainer.strategy != "ddp":
            raise ConfigError(f"trainer.devices={trainer.devices}: several devices need trainer=ddp")
        if trainer.devices * 2 > config.batch_size and trainer.devices > 1:
            raise ConfigError(
                f"batch_size={config.batch_size}: it is shared by {trainer.devices} devices, which need 2 images each"
            )
    elif trainer.accelerator == "cpu":
        raise ConfigError("trainer.devices=auto: the CPU has no devices to count; say how many processes, such as 2")
    if trainer.precision == "16" and trainer.accelerator == "cpu":
        raise ConfigError("trainer.precision=16: needs a GPU; on the CPU use 32 or bf16")
    if config.optim.optimizer == "sgd" and config.optim.nesterov and config.optim.momentum == 0:
        raise ConfigError("optim.nesterov=true: needs optim.momentum above 0")
