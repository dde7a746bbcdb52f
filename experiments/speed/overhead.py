"""Row `overhead`: what a step costs beyond a raw loop, everything on, and how much of that is Lightning's own."""

import csv
import dataclasses
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import work
from measure import Figure, Options, alternate, figures

_BATCH = 16
_OURS = "terrablate, everything on"
_UNFUSED = f"{_OURS}, optim.fused=false"
"""As the raw loop and Lightning alone, for which torch chooses its loop over the parameters."""
_TURNS = 3


def overhead(options: Options) -> list[Figure]:
    """Milliseconds a step with LeNet on small chips and one thread; the network's own time is in all.

    Each round has a process of its own: where in memory the network lies changes a step by tenths of a millisecond.
    """
    spawned = multiprocessing.get_context("spawn")
    rounds = []
    for _ in range(options.repeats):
        with ProcessPoolExecutor(1, mp_context=spawned) as pool:
            rounds.append(pool.submit(_round, options).result())
    found = {name: [each[name] for each in rounds] for name in rounds[0]}
    conditions = (
        f"{_steps(options)} steps of {_BATCH} chips of 13x16x16, LeNet, one thread; a step without evaluations;"
        f" a process a round, the median of {_TURNS} turns in it"
    )
    rows = figures("overhead", "ms a step", found, {}, options, conditions=conditions)
    beyond = {
        f"{name}, beyond the raw loop": [one - raw for one, raw in zip(found[name], found["raw loop"], strict=True)]
        for name in found
        if name != "raw loop"
    }
    targets = dict.fromkeys((f"{_OURS}, beyond the raw loop", f"{_UNFUSED}, beyond the raw loop"), "0.7 ms")
    return rows + figures("overhead", "ms a step", beyond, {}, options, targets=targets, conditions=conditions)


def _steps(options: Options) -> int:
    return options.size(500, 40)


def _round(options: Options) -> dict[str, float]:
    import torch

    from terrablate.data.pack import ensure_pack

    config = work.compose(
        options, "data=synthetic", f"data.train={_steps(options) * _BATCH}", "data.val=100", "data.test=10",
        "data.size=16", "model=lenet", f"batch_size={_BATCH}", "epochs=1", "trainer=cpu", "trainer.threads=1",
        "suspects=false", "force=true",
    )  # fmt: skip
    pack = ensure_pack(config.data, Path(config.packs_dir))
    unfused = dataclasses.replace(config.optim, fused=False)
    torch.set_num_threads(1)
    found = alternate(
        {
            "raw loop": lambda: _raw(config, pack),
            "Lightning alone": lambda: _bare_lightning(config, pack),
            _OURS: lambda: _ours(config),
            _UNFUSED: lambda: _ours(dataclasses.replace(config, optim=unfused)),
        },
        _TURNS,
    )
    return {name: median(values) for name, values in found.items()}


def _stream(config: Any, pack: Any) -> Any:
    from terrablate.data.module import ChipDataModule

    return ChipDataModule(config, pack).train_dataloader()


@work.without_lightning()
def _raw(config: Any, pack: Any) -> float:
    import torch

    stream, trained, inputs = _stream(config, pack), work.network(config, pack).train(), _inputs(config, pack)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=work.LEARNING_RATE)
    began = time.perf_counter()
    for batch in stream:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(trained(inputs(batch["image"])), batch["label"]).backward()
        optimizer.step()
    return 1000 * (time.perf_counter() - began) / len(stream)


def _inputs(config: Any, pack: Any) -> Any:
    from terrablate.training.inputs import Inputs

    return Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())


def _bare_lightning(config: Any, pack: Any) -> float:
    import lightning
    import torch

    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # as Lightning sets it; runs of ours on the CPU switch it off

    class Bare(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.inputs = work.network(config, pack), _inputs(config, pack)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return torch.nn.functional.cross_entropy(self.network(self.inputs(batch["image"])), batch["label"])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=work.LEARNING_RATE)

    stream, clock = _stream(config, pack), work.Stopwatch()
    off: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=1, enable_model_summary=False, callbacks=[clock], accelerator="cpu", **off)
    trainer.fit(Bare(), train_dataloaders=stream)
    return 1000 * clock.seconds / len(stream)


def _ours(config: Any) -> float:
    """Of the training part of the epoch, with the progress bar of a terminal."""
    from terrablate.training.run import run

    os.environ["FORCE_COLOR"] = "1"  # rich draws its bar as in a terminal
    try:
        record = run(config)
    finally:
        del os.environ["FORCE_COLOR"]
    with (record.folder / "metrics.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    return 1000 * _BATCH / float(row["images_per_second"])
