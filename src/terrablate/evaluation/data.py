"""The images that finished runs are evaluated on: their own val and test, or other data with the same classes."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import TypeAdapter

from terrablate.config.parse import plain
from terrablate.config.schema import Config, Data, SyntheticData
from terrablate.data.batches import Images
from terrablate.data.module import ChipDataModule
from terrablate.data.open_source import open_source
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.source import SPLITS, Labels, Source, Split
from terrablate.errors import ConfigError, DataError
from terrablate.evaluation.settings import Settings
from terrablate.evaluation.subjects import Subject
from terrablate.models.band_names import canonical
from terrablate.training.inputs import Inputs

_NAMED = 10


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled images as a run's network takes them."""

    parts: tuple[Images, ...]
    """One a split."""
    ids: list[str]
    labels: Labels
    """In the run's own class numbers: N, int64; of several an image N,K, uint8."""
    inputs: Inputs
    """From stored numbers to the network: the scale of these data, the standardisation of the run."""
    channels: list[int] | None
    """Where the bands of the run stand among those of the images; None if they are the same."""
    fingerprint: str
    """Of the pack."""
    absent: list[str] = field(default_factory=list)
    """Classes of the run of which other data have no images."""

    def __len__(self) -> int:
        return len(self.ids)


class Packs:
    """Packs that several runs share, found once.

    Args:
        packs_dir: where they are.
    """

    def __init__(self, packs_dir: Path) -> None:
        self._packs_dir = packs_dir
        self._found: dict[str, Pack] = {}

    def of(self, data: Data, splits: Sequence[Split] = ("train", "val")) -> Pack:
        """As `ensure_pack`."""
        left_out = {"train_per_class", "val_per_class", "subset_seed", "label_noise", "imbalance", "sampler"}
        spec = {key: value for key, value in plain(data).items() if key not in left_out}
        key = json.dumps([spec, list(splits)], sort_keys=True)
        if key not in self._found:
            self._found[key] = ensure_pack(data, self._packs_dir, splits)
        return self._found[key]


def own_val(subject: Subject, module: ChipDataModule) -> EvaluationSet:
    """What the run was validated on."""
    images = module.images("val")
    inputs = _inputs(subject, subject.config.data.scale, subject.config.data.offset)
    return EvaluationSet((images,), module.sample_ids("val"), images.labels, inputs, None, module.pack.fingerprint)


def own_test_data(config: Config, settings: Settings) -> Data:
    """The data section of a run for its test split, whose list may be told anew."""
    if "test_list" not in settings.moved:
        return config.data
    values = plain(config.data)
    if "test_list" not in values:
        raise ConfigError(f"data.test_list: data={config.data.name} has split lists of its own; leave it out")
    values["test_list"] = settings.moved["test_list"]
    return TypeAdapter[Data](type(config.data)).validate_python(values)


def other_data(config: Config, other: Data, trained: Pack, source: Source | None = None) -> Data:
    """The data section of a transfer: its images at the size that the run's had.

    Args:
        config: of the run.
        other: as the command line has it.
        trained: the run's own pack.
        source: of the other data, if it is at hand, so that classes and bands are looked at, too.

    Raises:
        ConfigError: if it asks for another size, or its images have another kind of labels.
        DataError: if it has classes that the run does not know, or lacks bands.
    """
    if source is not None:
        match_classes(source.classes, trained.classes, other.name, config.data.name)
        match_bands(source.bands, other, trained.bands, config.data)
    own = config.data
    if other.labels != own.labels:
        raise ConfigError(
            f"data={other.name}: data.labels={other.labels}, and the run's data={own.name} have"
            f" data.labels={own.labels}; both must be alike"
        )
    size = trained.image_size
    if other.image_size not in (None, size):
        raise ConfigError(
            f"data.image_size={other.image_size}: the run has learnt from images of {size} pixels; leave it out, and"
            " the other data are resized to that"
        )
    return dataclasses.replace(other, image_size=None if other.native_size == size else size)


def check_split(data: Data, split: Split, packs_dir: Path) -> Source | None:
    """Refuse a split that is not there, before anything is written down; lists files, reads no image.

    Returns:
        The source; None where only its pack is at hand.

    Raises:
        DataError: if the source has no such split, or is not at hand and has no pack.
    """
    if isinstance(data, SyntheticData) or (Path(data.root) / data.subfolder).is_dir():
        source = open_source(data)
        source.dataset(split)
        return source
    if not any(packs_dir.glob(f"{data.name}-*/{split}_labels.npy")):
        raise DataError(
            f"data.root={data.root}: there is neither a folder {Path(data.root) / data.subfolder} nor a pack of the"
            f" {split} split of {data.name} in {packs_dir}; say with data.root=... where the data are"
        )
    return None


def own_test(subject: Subject, data: Data, packs: Packs, module: ChipDataModule) -> EvaluationSet:
    """The locked split of a run's own data.

    Raises:
        DataError: if its images are of another size or have other bands or classes than those of train, or some of
            them are in train or val.
    """
    pack = packs.of(data, ("test",))
    trained = module.pack
    for name, found, expected in (
        ("bands", pack.bands, trained.bands),
        ("classes", pack.classes, trained.classes),
        ("image shape", _shape(pack, "test"), _shape(trained, "train")),
    ):
        if found != expected:
            raise DataError(f"data={data.name}: test has the {name} {found}, and train has {expected}; test must match")
    ids = pack.ids("test")
    seen = set(ids) & {*trained.ids("train"), *trained.ids("val")}
    if seen:
        raise DataError(
            f"data={data.name}: {len(seen)} images of test are in train or val, such as {sorted(seen)[0]}, so that test"
            " would tell nothing; correct the split lists"
        )
    labels = pack.labels("test")
    images = Images(pack.images("test"), labels, np.arange(len(labels)))
    return EvaluationSet((images,), ids, labels, _inputs(subject, data.scale, data.offset), None, pack.fingerprint)


def transferred(subject: Subject, other: Data, split: str, packs: Packs, module: ChipDataModule) -> EvaluationSet:
    """Another dataset or region, as the run's network takes it.

    Classes are matched by name (letter case and separators do not matter), bands by what they are, values on the
    sensor's scale; the standardisation is that of the run's own train split.

    Raises:
        DataError: if it has classes that the run does not know, lacks bands, or its images are of another shape.
    """
    trained = module.pack
    splits: tuple[Split, ...] = SPLITS if split == "all" else tuple(name for name in SPLITS if name == split)
    found = [(packs.of(other, ("test",)) if name == "test" else packs.of(other), name) for name in splits]
    pack = found[0][0]
    numbers = match_classes(pack.classes, trained.classes, other.name, subject.config.data.name)
    channels = match_bands(pack.bands, other, trained.bands, subject.config.data)
    ids: list[str] = []
    labels: list[Labels] = []
    parts: list[Images] = []
    for pack, name in found:
        if (height_width := _shape(pack, name)[1:]) != _shape(trained, "train")[1:]:
            raise DataError(
                f"data={other.name}: images of {height_width} pixels, and the run has learnt from"
                f" {_shape(trained, 'train')[1:]}; leave data.image_size out"
            )
        stored = pack.labels(name)
        parts.append(Images(pack.images(name), stored, np.arange(len(stored))))
        labels.append(_renumbered(stored, numbers, len(trained.classes)))
        ids += pack.ids(name)
    inputs = _inputs(subject, other.scale, other.offset)
    absent = absent_classes(pack.classes, trained.classes)
    return EvaluationSet(tuple(parts), ids, np.concatenate(labels), inputs, channels, pack.fingerprint, absent)


def shared_names(found: EvaluationSet, module: ChipDataModule) -> int:
    """Images of a transfer that are called like a training image, which may then show the same place."""
    names = {PurePosixPath(each).stem for each in module.sample_ids("train")}
    return sum(PurePosixPath(each).stem in names for each in found.ids)


def match_classes(theirs: Sequence[str], ours: Sequence[str], their_name: str, our_name: str) -> list[int]:
    """The run's number of each class of other data, by name.

    Raises:
        DataError: if there are classes that the run does not know.
    """
    by_name = {_folded(name): number for number, name in enumerate(ours)}
    unknown = [name for name in theirs if _folded(name) not in by_name]
    if unknown:
        raise DataError(
            f"data={their_name}: the run does not know the classes {_few(unknown)}; it was trained on data={our_name}"
            f" with the classes {_few(ours, len(ours))}, and the other data have {_few(theirs, len(theirs))}"
        )
    return [by_name[_folded(name)] for name in theirs]


def absent_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Classes of a run that other data do not have."""
    names = set(map(_folded, theirs))
    return [name for name in ours if _folded(name) not in names]


def match_bands(theirs: Sequence[str], their_data: Data, ours: Sequence[str], our_data: Data) -> list[int] | None:
    """Where the run's bands stand among those of other data: B4 is B04, and red where data.rgb says so.

    Raises:
        DataError: if bands are lacking.
    """
    known, wanted = canonical(theirs, their_data.rgb), canonical(ours, our_data.rgb)
    lacking = [own for own, name in zip(ours, wanted, strict=True) if name not in known]
    if lacking:
        raise DataError(
            f"data={their_data.name}: lacks the bands {_few(lacking)} of the run; it has {_few(theirs, len(theirs))};"
            " data.band_names and data.rgb say what its bands are"
        )
    channels = [known.index(name) for name in wanted]
    return None if channels == list(range(len(theirs))) else channels


def _inputs(subject: Subject, scale: float, offset: float) -> Inputs:
    """The run's standardisation, for numbers that are stored on another scale."""
    own, recorded = subject.config.data, subject.result["normalization"]
    if recorded["center"] is None:
        return Inputs(scale, offset)
    if (scale, offset) == (own.scale, own.offset):
        return Inputs(scale, offset, recorded["center"], recorded["spread"])
    center = [(value + own.offset) / own.scale * scale - offset for value in recorded["center"]]
    spread = [(value or own.scale) / own.scale * scale for value in recorded["spread"]]
    return Inputs(scale, offset, center, spread)


def _shape(pack: Pack, split: Split) -> list[int]:
    """C,H,W of its images."""
    shape: list[int] = pack.meta["splits"][split]["shape"]
    return shape


def _renumbered(labels: Labels, numbers: Sequence[int], count: int) -> Labels:
    if labels.ndim == 1:
        return np.asarray(numbers, dtype=np.int64)[labels]
    found = np.zeros((len(labels), count), dtype=np.uint8)
    found[:, list(numbers)] = labels
    return found


def _folded(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _few(names: Sequence[str], most: int = _NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(list(names)[:most]) + more
