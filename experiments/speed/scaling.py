"""Row `scaling`: packing, epochs and memory of up to a million small chips, and a pack that is larger than RAM."""

import csv
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confined
import numpy as np
import numpy.typing as npt
import work
from measure import PROJECT, Figure, Options, figures

from terrablate.data.source import Sample, Split

_BANDS, _CLASSES, _SIDE = ("B04", "B03", "B02"), tuple(f"class{number}" for number in range(10)), 32
_PARTS = ("packing", "reading, without network", "training, in a run of `train.py`")
_VAL = 500


def scaling(options: Options) -> list[Figure]:
    """Microseconds an image, which do not grow if time is linear, and MiB of a run's own memory at its peak."""
    sizes = (1_000, 2_000) if options.quick else (10_000, 100_000, 1_000_000)
    times: dict[str, list[float]] = {}
    compared: dict[str, list[str]] = {}
    memory: dict[str, list[float]] = {}
    for count in sizes:
        config, folder = _prepared(options, count)
        packing = _packing(config, folder, count)
        training, own = _run(options, count)
        for part, found in zip(_PARTS, (packing, _reading(config, folder), training), strict=True):
            times[f"{part}, {count:,}"] = [found]
            if count != sizes[0]:
                compared[f"{part}, {count:,}"] = [f"{part}, {sizes[0]:,}"]
        memory[f"own memory of a run at its peak, {count:,}"] = [own]
        if count == sizes[-1]:
            _confined(options, folder, count, times, compared, memory)
        shutil.rmtree(folder)
    conditions = f"chips of 3x{_SIDE}x{_SIDE} uint8, pack memory-mapped, batches of {work.BATCH}, LeNet, one epoch"
    linear = {name: "trains" if "RAM" in name else "linear: 1 x" for name in compared}
    same = dict.fromkeys(list(memory)[1:], "no growth")
    return [
        *figures("scaling", "us an image", times, compared, options, conditions=conditions, targets=linear),
        *figures("scaling", "MiB", memory, {}, options, conditions=conditions, targets=same),
    ]


def _confined(
    options: Options,
    folder: Path,
    count: int,
    times: dict[str, list[float]],
    compared: dict[str, list[str]],
    memory: dict[str, list[float]],
) -> None:
    """The same run with half as much RAM as the pack has bytes, which lies on the disk when it begins."""
    images = folder / "train_images.npy"
    size = images.stat().st_size // 2**20
    ram = max(size // 2, 1024)
    confined.forget(images)
    try:
        training, own = _run(options, count, ram)
    except (confined.NotAllowedError, RuntimeError) as error:  # the rest of the row is still of use
        sys.stdout.write(f"scaling: a pack larger than RAM is not measured: {error}\n")
        return
    name = f"training {count:,} out of {size:,} MiB in {ram:,} MiB of RAM"
    times[name] = [training]
    compared[name] = [f"{_PARTS[2]}, {count:,}"]
    memory[f"own memory at its peak, {name}"] = [own]


@dataclass(frozen=True)
class _Chips:
    """Chips that cost nothing to read: parts of one random field."""

    ids: Sequence[str]
    field: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        start = index % (len(self.field) - _SIDE)
        return {"image": self.field[start : start + _SIDE].transpose(2, 0, 1), "label": index % len(_CLASSES)}


class _Source:
    bands, classes = _BANDS, _CLASSES

    def __init__(self, count: int) -> None:
        self._count = count
        self._field = np.random.default_rng(0).integers(0, 255, (5000, _SIDE, 3), dtype=np.uint8)

    def dataset(self, split: Split) -> _Chips:
        count = self._count if split == "train" else _VAL
        return _Chips([str(number) for number in range(count)], self._field)


def _words(count: int) -> list[str]:
    """Overrides for data that stand for the chips: whoever looks for their pack finds the chips'."""
    data = ["data=synthetic", "data.bands=rgb", f"data.train={count}", f"data.val={_VAL}", f"data.size={_SIDE}"]
    return [*data, *work.training("lenet", 1), "trainer=cpu", "force=true"]


def _prepared(options: Options, count: int) -> tuple[Any, Path]:
    """A config, and the folder where its pack belongs."""
    from terrablate.data.open_source import pack_key, stamp

    config = work.compose(options, *_words(count))
    folder = Path(config.packs_dir) / pack_key(config.data, stamp(config.data) or "")
    folder.mkdir(parents=True)
    return config, folder


def _packing(config: Any, folder: Path, count: int) -> float:
    """Microseconds an image."""
    from terrablate.data.packing import write_pack

    began = time.perf_counter()
    write_pack(_Source(count), config.data, folder, ("train", "val"))
    return 1e6 * (time.perf_counter() - began) / (count + _VAL)


def _reading(config: Any, folder: Path) -> float:
    """Microseconds an image of an epoch in shuffled batches, to float, standardised."""
    from terrablate.data.module import ChipDataModule
    from terrablate.data.pack import Pack
    from terrablate.training.inputs import Inputs

    pack = Pack(folder, json.loads((folder / "meta.json").read_text(encoding="utf-8")))
    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    seen, began = 0, time.perf_counter()
    for batch in ChipDataModule(config, pack).train_dataloader():
        seen += len(inputs(batch["image"]))
    return 1e6 * (time.perf_counter() - began) / seen


def _run(options: Options, count: int, mebibytes: int | None = None) -> tuple[float, float]:
    """Microseconds an image of the training part of an epoch, and MiB of own memory at the peak of the whole run."""
    shutil.rmtree(options.scratch / "runs", ignore_errors=True)
    command = [sys.executable, str(PROJECT / "src" / "train.py"), *work.places(options), *_words(count)]
    seen = confined.watch(command, mebibytes)
    if mebibytes and not (seen.reclaimed or options.quick):
        raise RuntimeError(f"{mebibytes} MiB were enough for all pages, so that nothing is shown")
    (metrics,) = (options.scratch / "runs").glob("*/metrics.csv")
    with metrics.open(encoding="utf-8") as file:
        return 1e6 / float(next(csv.DictReader(file))["images_per_second"]), seen.own
