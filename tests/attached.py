"""Data modules as a trainer would see them: in an epoch, on a rank; and what their streams give."""

from types import SimpleNamespace

import numpy as np
import torch

from terrablate.data.module import ChipDataModule


def in_epoch(data: ChipDataModule, epoch: int, rank: int = 0) -> ChipDataModule:
    """Attach what a trainer says."""
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        current_epoch=epoch,
        global_rank=rank,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data


def order(data: ChipDataModule) -> list[list[int]]:
    return [batch["position"].tolist() for batch in data.train_dataloader()]


def counts(data: ChipDataModule, name: str) -> list[int]:
    return np.bincount(data.images(name).labels, minlength=10).tolist()
