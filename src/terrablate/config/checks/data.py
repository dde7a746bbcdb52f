"""Checks of the data section."""

from pathlib import Path

from terrablate.config.schema import (
    BigEarthNetData,
    Config,
    Data,
    FolderData,
    FrozenFeatures,
    PatternNetData,
    PublishedData,
    Sat6Data,
    So2SatData,
    SyntheticData,
    TorchgeoData,
)
from terrablate.errors import ConfigError


def check_data(config: Config, *, reads_data: bool = True) -> None:
    """Bands, splits, and folders unless nothing is read from them."""
    data = config.data
    _check_bands(data)
    if isinstance(data.label_noise, str) and not Path(data.label_noise).is_file() and reads_data:
        raise ConfigError(
            f"data.label_noise={data.label_noise}: there is no such file; give a rate such as 0.2, or a CSV file"
        )
    if data.sampler == "balanced" and isinstance(config.finetune, FrozenFeatures):
        raise ConfigError(
            f"data.sampler=balanced: finetune={config.finetune.name} fits to all images at once; use"
            " data.sampler=shuffle"
        )
    if isinstance(data, PublishedData):
        _check_published(data, at_hand=not reads_data or _packed(config))
    if isinstance(data, SyntheticData) and data.on_error == "skip":
        raise ConfigError("data.on_error=skip: synthetic scenes are never unreadable; leave it at raise")
    if isinstance(data, FolderData):
        _check_folder(data, at_hand=not reads_data or _packed(config))


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


def _packed(config: Config) -> bool:
    """Whether packs are at hand that may stand in for an absent source."""
    return Path(config.packs_dir).is_dir() and any(Path(config.packs_dir).glob(f"{config.data.name}-*"))


def _check_published(data: PublishedData, *, at_hand: bool) -> None:
    title = data.dataset if isinstance(data, TorchgeoData) else data.title
    if data.labels == "one" and isinstance(data, BigEarthNetData):
        raise ConfigError("data.labels=one: an image of BigEarthNet has several labels; use data.labels=several")
    if data.labels == "several" and not isinstance(data, BigEarthNetData):
        raise ConfigError(f"data.labels=several: an image of {title} has one label; use data.labels=one")
    if isinstance(data, PatternNetData):
        _check_fractions(data.fractions, may_lack_val=False)
    if isinstance(data, So2SatData):
        if data.version == 2 and data.val_fraction is not None:
            raise ConfigError(
                f"data.val_fraction={data.val_fraction:g}: version 2 of So2Sat has a val split of its own; leave it at"
                " null, or choose another data.version"
            )
        if data.version != 2 and data.val_fraction is None:
            raise ConfigError(
                f"data.version={data.version}: has no val split; say how much of train becomes val, such as"
                " data.val_fraction=0.1"
            )
    folder = Path(data.root) / data.subfolder
    if folder.is_dir() or at_hand:
        return
    advice = f"there is no folder {folder}; put {title} there, point data.root (or DATA_DIR) to the folder above it"
    if isinstance(data, So2SatData | Sat6Data):
        raise ConfigError(f"data.root={data.root}: {advice}")
    if not data.download:
        raise ConfigError(f"data.root={data.root}: {advice}, or let torchgeo fetch it with data.download=true")


def _check_fractions(fractions: list[float], *, may_lack_val: bool) -> None:
    if abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0 or (fractions[1] == 0 and not may_lack_val):
        raise ConfigError(f"data.fractions={fractions}: train, val, test must add up to 1, train and val not 0")


def _check_folder(data: FolderData, *, at_hand: bool) -> None:
    folder = Path(data.root) / data.subfolder
    if not folder.is_dir() and not at_hand:
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
    _check_fractions(data.fractions, may_lack_val=data.folds is not None)
