"""Row `scaling`: packing and epochs of up to a million small chips, and memory while they are read from disk."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import work
from measure import Figure, Options, figures

from terrablate.data.source import Sample, Split

_BANDS, _CLASSES, _SIDE = ("B04", "B03", "B02"), tuple(f"class{number}" for number in range(10)), 32


def scaling(options: Options) -> list[Figure]:
    """Microseconds an image, which do not grow if time is linear, and MiB that reading adds to the process's own."""
    sizes = (1_000, 2_000) if options.quick else (10_000, 100_000, 1_000_000)
    found: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for count in sizes:
        packing, reading, training, grown = _measure(options, count)
        found |= {
            f"packing {count:,}": [packing],
            f"an epoch without network, {count:,}": [reading],
            f"an epoch of LeNet, {count:,}": [training],
        }
        memory[f"own memory grown by two epochs, {count:,}"] = [grown]
    smallest = list(found)[:3]
    compared = {name: [smallest[index % 3]] for index, name in enumerate(found) if index >= 3}
    conditions = f"chips of 3x{_SIDE}x{_SIDE} uint8 out of memory, pack memory-mapped, batch {work.BATCH}"
    return [
        *figures("scaling", "us an image", found, compared, options, conditions=conditions,
                 targets=dict.fromkeys(compared, "linear: 1 x")),
        *figures("scaling", "MiB", memory, {}, options, conditions=conditions,
                 targets=dict.fromkeys(memory, "no growth")),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Chips:
    """Chips that cost nothing to read: parts of one random field."""

    count: int
    field: npt.NDArray[np.uint8]

    @property
    def ids(self) -> Sequence[str]:
        return [str(number) for number in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        start = index % (len(self.field) - _SIDE)
        return {"image": self.field[start : start + _SIDE].transpose(2, 0, 1), "label": index % len(_CLASSES)}


class _Source:
    bands, classes = _BANDS, _CLASSES

    def __init__(self, count: int) -> None:
        self._count = count
        self._field = np.random.default_rng(0).integers(0, 255, (5000, _SIDE, 3), dtype=np.uint8)

    def dataset(self, split: Split) -> _Chips:
        return _Chips(self._count if split == "train" else 500, self._field)


def _measure(options: Options, count: int) -> tuple[float, float, float, float]:
    """Microseconds an image of packing, of an epoch of reading and of one of LeNet; MiB of own memory added."""
    from terrablate.data.module import ChipDataModule
    from terrablate.data.pack import Pack
    from terrablate.data.packing import write_pack

    config = work.compose(
        options, "data=synthetic", "data.bands=rgb", f"data.size={_SIDE}", "model=lenet", f"batch_size={work.BATCH}"
    )
    folder = options.scratch / f"chips-{count}"
    folder.mkdir()
    began = time.perf_counter()
    write_pack(_Source(count), config.data, folder, ("train", "val"))
    packing = time.perf_counter() - began
    pack = Pack(folder, _meta(folder))
    stream = ChipDataModule(config, pack).train_dataloader()
    before = _own_memory()
    reading = _epoch(stream, config, pack, None)
    training = _epoch(stream, config, pack, work.network(config, pack))
    grown = _own_memory() - before
    shutil.rmtree(folder)
    return *(1e6 * seconds / count for seconds in (packing, reading, training)), grown  # type: ignore[return-value]


def _epoch(stream: Any, config: Any, pack: Any, network: Any) -> float:
    import torch

    from terrablate.training.inputs import Inputs

    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    optimizer = torch.optim.AdamW(network.parameters(), lr=work.LEARNING_RATE) if network is not None else None
    began = time.perf_counter()
    for batch in stream:
        image = inputs(batch["image"])
        if optimizer is not None:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(image), batch["label"]).backward()
            optimizer.step()
    return time.perf_counter() - began


def _meta(folder: Path) -> dict[str, Any]:
    import json

    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def _own_memory() -> float:
    """MiB that belong to this process alone: not the pages of mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
