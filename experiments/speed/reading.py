"""Row `reading`: from files to float batches, standardised, not augmented."""

import time
from pathlib import Path

import work
from measure import Figure, Options, alternate, best_of, figures

TARGETS = {"all": "25 x torchgeo's best", "rgb": "100 x torchgeo's best"}


def reading(options: Options) -> list[Figure]:
    """Images a second, each image of the train split once a pass."""
    rows = []
    for bands in ("all", "rgb"):
        subjects = {
            f"torchgeo, {workers} workers": lambda workers=workers, bands=bands: _torchgeo(options, workers, bands)
            for workers in (0, 1, 2)
        }
        peers = list(subjects)
        subjects["terrablate"] = lambda bands=bands: _ours(options, bands)
        found = alternate(subjects, options.repeats)
        best = best_of(found, peers)
        rows += figures(
            f"reading {bands}", "images/s", found, {"terrablate": [peers[0], best]}, options,
            targets={"terrablate": TARGETS[bands]},
            conditions=f"batches of {work.BATCH}, float32, standardised, EuroSAT's train split",
        )  # fmt: skip
    return rows


def _torchgeo(options: Options, workers: int, bands: str) -> float:
    import torch

    data = work.torchgeo_data(options, workers, work.RGB if bands == "rgb" else None)
    data.setup("fit")
    mean, std = data.mean.view(-1, 1, 1), data.std.view(-1, 1, 1)
    loader = data.train_dataloader()
    seen, total, began = 0, torch.zeros(()), time.perf_counter()
    for batch in loader:
        image = (batch["image"] - mean) / std
        seen += len(image)
        total += image[0, 0, 0, 0]
    return seen / (time.perf_counter() - began)


def _ours(options: Options, bands: str) -> float:
    import torch

    from terrablate.data.module import ChipDataModule
    from terrablate.data.pack import ensure_pack
    from terrablate.training.inputs import Inputs

    config = work.compose(options, *work.eurosat(options, bands), f"batch_size={work.BATCH}")
    pack = ensure_pack(config.data, Path(config.packs_dir))
    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    stream = ChipDataModule(config, pack).train_dataloader()
    passes = options.size(20, 2)  # one takes some milliseconds
    seen, total, began = 0, torch.zeros(()), time.perf_counter()
    for _ in range(passes):
        for batch in stream:
            image = inputs(batch["image"])
            seen += len(image)
            total += image[0, 0, 0, 0]
    return seen / (time.perf_counter() - began)
