"""The work that is the same for all: EuroSAT's chips, the networks, a torchgeo task, a raw loop, and runs of ours."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Options
from torch import nn

RGB = ("B04", "B03", "B02")
BATCH = 64
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.01
"""AdamW's, in all loops."""


def compose(options: Options, *overrides: str) -> Any:
    """A checked config of ours; packs, runs and studies go to the benchmark's scratch folder."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from terrablate.config import parse
    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(hydra_compose("train", overrides=[*places(options), *overrides]))


def places(options: Options) -> list[str]:
    """Overrides that keep everything in the scratch folder."""
    return [f"{name}_dir={options.scratch / name}" for name in ("packs", "runs", "studies")]


def eurosat(options: Options, bands: str = "all") -> list[str]:
    """Overrides for EuroSAT."""
    return ["data=eurosat", f"data.root={options.data_root}", f"data.bands={bands}"]


def training(model: str, epochs: int, *, threads: int | None = None, seed: int = 0) -> list[str]:
    """Overrides for the work that all loops do: no augmentation, val evaluated once, at the end."""
    loop = [f"model={model}", f"epochs={epochs}", f"eval_every={epochs}", f"batch_size={BATCH}", f"seed={seed}"]
    optimizer = ["optim=adamw", f"optim.lr={LEARNING_RATE}", f"optim.weight_decay={WEIGHT_DECAY}"]
    return [*loop, *optimizer, *([f"trainer.threads={threads}"] if threads else [])]


def network(config: Any, pack: Any) -> nn.Module:
    """The network of a run of ours; the raw loop and the torchgeo task train the same class."""
    from terrablate.models.build import build

    return build(config, len(pack.bands), len(pack.classes), pack.image_size).network


def parameters(module: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def torchgeo_data(options: Options, workers: int, bands: Sequence[str] | None = None) -> Any:
    """Torchgeo's data module."""
    from torchgeo.datamodules import EuroSATDataModule

    chosen = {"bands": tuple(bands)} if bands else {}
    return EuroSATDataModule(batch_size=BATCH, num_workers=workers, root=options.data_root / "eurosat", **chosen)


def torchgeo_task(trained: nn.Module, bands: int, classes: int) -> Any:
    """Torchgeo's task around a network, which it otherwise takes from timm."""
    from torchgeo.tasks import Classification

    class Task(Classification):
        def configure_models(self) -> None:
            self.model = trained

        def configure_optimizers(self) -> Any:  # without the plateau schedule, which wants val after each epoch
            return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    return Task(model="resnet18", in_channels=bands, num_classes=classes, lr=LEARNING_RATE)


def torchgeo_rate(
    options: Options, trained: nn.Module, workers: int, epochs: int, *, bare: bool, bands: Sequence[str]
) -> float:
    """Images a second of `Trainer.fit` with torchgeo, from the first epoch's start to the last one's end.

    Args:
        options: of the call.
        trained: the network.
        workers: of the DataLoader.
        epochs: of the run.
        bare: without the logger, checkpoints and progress bar that a Trainer has by default.
        bands: that are read.
    """
    import lightning

    data = torchgeo_data(options, workers, bands)
    stopwatch = Stopwatch()
    off: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_epochs=epochs,
        check_val_every_n_epoch=epochs,
        num_sanity_val_steps=0,
        callbacks=[stopwatch],
        default_root_dir=options.scratch / "torchgeo",
        accelerator="cpu",
        enable_model_summary=False,
        **(off if bare else {}),
    )
    trainer.fit(torchgeo_task(trained, len(bands), 10), datamodule=data)
    return trainer.global_step * BATCH / stopwatch.seconds


def _stopwatch_class() -> type:
    import lightning

    class Clock(lightning.Callback):
        seconds = 0.0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self._began = time.perf_counter()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.seconds = time.perf_counter() - self._began

    return Clock


def Stopwatch() -> Any:  # noqa: N802 - stands for a class that needs Lightning
    """A Lightning callback that takes the time of the whole training."""
    return _stopwatch_class()()


@contextlib.contextmanager
def without_lightning() -> Iterator[None]:
    """For a plain loop, whose optimizer need not ask for GPUs in each step as Lightning has torch do."""
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    before = os.environ.pop(name, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before


@without_lightning()
def raw_rate(config: Any, pack: Any, epochs: int) -> float:
    """Images a second of a plain loop over arrays in RAM: index, float, standardise, step; val once at the end."""
    images, labels = np.array(pack.images("train")), torch.from_numpy(pack.labels("train"))
    val, val_labels = np.array(pack.images("val")), torch.from_numpy(pack.labels("val"))
    mean = torch.tensor(pack.mean, dtype=torch.float32).view(-1, 1, 1)
    std = torch.tensor(pack.std, dtype=torch.float32).view(-1, 1, 1)
    trained = network(config, pack).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    loss = nn.CrossEntropyLoss()
    seen, began = 0, time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = (torch.from_numpy(images[rows.numpy()]).float() - mean) / std
            optimizer.zero_grad()
            loss(trained(batch), labels[rows]).backward()
            optimizer.step()
            seen += len(rows)
    trained.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(val), 256):
            batch = (torch.from_numpy(val[start : start + 256]).float() - mean) / std
            correct += int((trained(batch).argmax(1) == val_labels[start : start + 256]).sum())
    return seen / (time.perf_counter() - began)


def our_rate(config: Any) -> float:
    """Images a second of a run of ours: training and evaluation, as its record says."""
    import dataclasses
    import logging

    from terrablate.training.run import run

    record = run(dataclasses.replace(config, force=True))
    logging.getLogger("terrablate").setLevel(logging.ERROR)
    return rate_of(record.folder)


def rate_of(folder: Path) -> float:
    """Images a second of a finished run."""
    import json

    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return float(result["images"]["train"] * result["epochs"] / result["cost"]["seconds"])
