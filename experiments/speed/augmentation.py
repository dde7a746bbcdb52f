"""Row `augmentation`: the recipe `all` on 128 chips of 13x64x64, beside ResNet-18's step and kornia's operations."""

import time
from collections.abc import Callable
from typing import Any

import work
from measure import Figure, Options, alternate, figures


def augmentation(options: Options) -> list[Figure]:
    """Milliseconds a batch."""
    import torch

    from terrablate.augment.pipeline import Augmentation

    count, side = options.size(128, 8), 64
    config = work.compose(options, "data=synthetic", "aug=all", "model=resnet18")
    spread = torch.full((13,), 0.05)
    ours = Augmentation(config.aug.operations, spread=spread, center=torch.full((13,), 0.2))
    theirs = _kornia()
    generator = torch.Generator().manual_seed(0)
    images = 0.2 + 0.05 * torch.randn(count, 13, side, side, generator=generator)
    labels = torch.randint(10, (count,), generator=generator)
    step = _step(config, images, labels)
    passes = options.size(5, 1)
    found = alternate(
        {
            "ResNet-18's step": lambda: _milliseconds(step, passes),
            "terrablate, aug=all": lambda: _milliseconds(lambda: ours(images, generator), passes),
            "kornia, the same operations": lambda: _milliseconds(lambda: theirs(images), passes),
        },
        options.repeats,
    )
    return figures(
        "augmentation", "ms a batch", found,
        {"terrablate, aug=all": ["ResNet-18's step", "kornia, the same operations"]}, options,
        targets={"terrablate, aug=all": "25 % of the step (4 x), faster than kornia"},
        conditions=f"{count} x 13 x {side} x {side}, float32, {torch.get_num_threads()} threads",
    )  # fmt: skip


def _milliseconds(work_once: Callable[[], Any], passes: int) -> float:
    began = time.perf_counter()
    for _ in range(passes):
        work_once()
    return 1000 * (time.perf_counter() - began) / passes


def _step(config: Any, images: Any, labels: Any) -> Callable[[], None]:
    import torch

    from terrablate.models.build import build

    network = build(config, 13, 10, images.shape[-1]).network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=work.LEARNING_RATE)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def _kornia() -> Callable[[Any], Any]:
    """Kornia's operation for each of `conf/aug/all.yaml` that takes 13 bands, with the same parameters where it can."""
    import kornia.augmentation as kornia

    return kornia.AugmentationSequential(
        kornia.RandomRotation90(times=(0, 3), p=0.5),
        kornia.RandomAffine(degrees=15.0, translate=(0.05, 0.05), p=1.0),
        kornia.RandomResizedCrop((64, 64), scale=(0.7, 1.0), ratio=(0.8, 1.25), p=1.0),
        kornia.RandomBrightness((0.85, 1.15), p=1.0),
        kornia.RandomContrast((0.85, 1.15), p=1.0),
        kornia.RandomGamma((0.9, 1.1), p=1.0),
        kornia.RandomGaussianBlur((5, 5), (0.1, 0.6), p=1.0),
        kornia.RandomGaussianNoise(std=0.005, p=1.0),
        kornia.RandomErasing(scale=(0.02, 0.2), ratio=(0.3, 3.3), p=0.25),
        data_keys=["input"],
    )
