"""Row `gpu`: ResNet-18 alone under the options that a GPU has, and several runs at once on one GPU."""

import csv
import os
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

import work
from measure import Figure, Options, alternate, figures

LADDER = {
    "float32": [],
    "bf16": ["trainer.precision=bf16"],
    "bf16, channels_last": ["trainer.precision=bf16", "trainer.channels_last=true"],
}
"""Options that work everywhere, each step with those before."""
FUSED = [*LADDER["bf16, channels_last"], "optim.fused=true"]
LADDER["bf16, channels_last, fused"] = FUSED
OF_GPU = {
    "the same, deterministic=false": [*FUSED, "trainer.deterministic=false"],
    "the same, compile=default": [*FUSED, "trainer.compile=default"],
    "the same, compile=reduce-overhead": [*FUSED, "trainer.compile=reduce-overhead"],
}
"""Options that a GPU has besides, each with all of the ladder."""
SLOTS = (1, 2, 4, 8, 16)
TARGETS = {"resnet18": "3 x one slot, at the best number of slots", "lenet": "10 x one slot, at the best number"}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def gpu(options: Options) -> list[Figure]:
    """Images a second; without a card nothing, except that `--quick` goes through all of it on the CPU."""
    import torch

    if torch.cuda.is_available():
        return measured(options, "gpu")
    said = "there is no GPU that torch can use, so that nothing is measured"
    sys.stdout.write(f"gpu: {said}{'; --quick goes through the row on the CPU' if options.quick else ''}\n")
    return measured(options, "cpu") if options.quick else []


def measured(options: Options, accelerator: str) -> list[Figure]:
    """The whole row.

    Args:
        options: of the call.
        accelerator: `gpu`, or `cpu` to see that all of it works.
    """
    from terrablate.data.pack import ensure_pack

    config = work.compose(options, *_data(options))
    ensure_pack(config.data, Path(config.packs_dir))
    rows = []
    for batch in (16,) if options.quick else (64, 512, 2048):
        rows += _alone(options, accelerator, batch)
    for model in TARGETS:
        rows += _at_once(options, accelerator, model)
    return rows


def _data(options: Options) -> list[str]:
    """Synthetic scenes like Sentinel-2's: 13 bands, 64 pixels, uint16; on a GPU resident as such, 870 MB a run."""
    sizes = [f"data.train={options.size(8192, 48)}", f"data.val={options.size(512, 20)}", "data.test=10"]
    return ["data=synthetic", *sizes, "data.size=64", "data.split_seed=0"]


def _words(options: Options, accelerator: str, model: str, batch: int, epochs: int) -> list[str]:
    training = [word for word in work.training(model, epochs) if not word.startswith("batch_size=")]
    return [*_data(options), *training, f"batch_size={batch}", f"trainer={accelerator}", "force=true"]


def _alone(options: Options, accelerator: str, batch: int) -> list[Figure]:
    """Images a second of training, and the share of its time in which the device computes; the rest is the host's."""
    choices = LADDER | (OF_GPU if accelerator == "gpu" else {})
    common = _words(options, accelerator, "resnet18", batch, options.size(5, 2))
    subjects = {
        f"{name}, batch {batch}": lambda more=more: _steady_rate(_trained(options, *common, *more))
        for name, more in choices.items()
    }
    found = alternate(subjects, options.repeats, warm_up=False)
    first, conditions = next(iter(subjects)), "ResNet-18 alone, 13 bands, 64 pixels, AdamW, without evaluations"
    rows = figures(
        "gpu", "images/s", found, {name: [first] for name in subjects if name != first}, options,
        targets=dict.fromkeys(subjects, "60,000 images/s at the best choice"), conditions=conditions,
    )  # fmt: skip
    busy = {}
    for name, more in choices.items():
        folder = _trained(options, *common, *more, f"debug.profile_steps={options.size(20, 2)}")
        step = batch / median(found[f"{name}, batch {batch}"])
        busy[f"the device computes, {name}, batch {batch}"] = [100 * _device_seconds(folder, accelerator) / step]
    idle = f"{conditions}; kernels of a profiled step against the time of one that is not"
    return [*rows, *figures("gpu", "% of a step", busy, {}, options, conditions=idle)]


def _at_once(options: Options, accelerator: str, model: str) -> list[Figure]:
    """Images a second of all runs together, each in a warm worker of its own."""
    common = [*work.places(options), *_words(options, accelerator, model, 64, options.size(8, 1))]
    common += LADDER["bf16"] if model == "lenet" else LADDER["bf16, channels_last"]
    counts = SLOTS if accelerator == "gpu" else SLOTS[:2]
    found = alternate(
        {f"{model}, {count} slots": lambda count=count: _slots(options, common, count) for count in counts},
        options.repeats,
        warm_up=False,
    )
    single, *several = found
    served = "MPS serves it" if _has_mps() else "without MPS"
    return figures(
        "gpu", "images/s", found, {name: [single] for name in several}, options,
        targets=dict.fromkeys(several, TARGETS[model]),
        conditions=f"runs of one {accelerator} at once, {served}, bf16, batch 64, 13 bands, 64 pixels, val once",
    )  # fmt: skip


def _trained(options: Options, *words: str) -> Path:
    """The folder of a run in this process."""
    from terrablate.training.run import run

    return run(work.compose(options, *words)).folder


def _steady_rate(folder: Path) -> float:
    """Images a second of training, by the device's clock; the first epoch compiles, tries and allocates."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rates = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    return median(rates[1:])


def _device_seconds(folder: Path, accelerator: str) -> float:
    """Seconds a step in which kernels ran, of the profile that a run wrote."""
    table = (folder / "profile.txt").read_text(encoding="utf-8")
    clock = "CUDA" if accelerator == "gpu" else "CPU"
    total = re.search(rf"Self {clock} time total: ([\d.]+)(us|ms|s)", table)
    steps = re.match(r"(\d+) training steps", table)
    if total is None or steps is None:
        raise RuntimeError(f"{folder / 'profile.txt'}: does not say what its steps took")
    return float(total[1]) * _SECONDS[total[2]] / int(steps[1])


def _slots(options: Options, common: list[str], count: int) -> float:
    """All slots train twice; the second runs count, when workers are warm."""
    from terrablate.study.slots import Settings, run_jobs

    settings = Settings(
        logs=options.scratch / "logs", slots_per_device=count, devices="cpu" if "trainer=cpu" in common else [0]
    )
    outcomes: list[Any] = run_jobs([[*common, f"seed={seed}"] for seed in range(2 * count)], settings)
    if failed := [outcome.reason for outcome in outcomes if outcome.kind != "complete"]:
        raise RuntimeError(f"a run of {count} slots failed: {failed[0]}")
    return sum(work.rate_of(Path(outcome.folder)) for outcome in outcomes[count:])


def _has_mps() -> bool:
    """Whether CUDA's multi-process service listens where a process of this user looks for it."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")) / "control").exists()
