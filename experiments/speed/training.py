"""Rows `lenet` and `resnet18`: the same images, epochs, batch, network and precision in all loops."""

from pathlib import Path
from typing import Any

import work
from measure import Figure, Options, alternate, best_of, figures

_LAST = "terrablate, trainer.channels_last=true"


def lenet(options: Options) -> list[Figure]:
    """Time only: LeNet's sigmoids learn little in so few epochs."""
    targets = {"terrablate": "0.9 of the raw loop", _LAST: "4 x torchgeo's default, 2.5 x its best"}
    return _row("lenet", options.size(10, 1), targets, options, bands="rgb")


def resnet18(options: Options) -> list[Figure]:
    """The network on which equivalence is shown, too."""
    targets = {"terrablate": "0.95 of the raw loop", f"{_LAST}, 2 slots": "1.3 x torchgeo's best"}
    return _row("resnet18", options.size(3, 1), targets, options)


def _row(model: str, epochs: int, targets: dict[str, str], options: Options, bands: str = "all") -> list[Figure]:
    from terrablate.data.pack import ensure_pack

    common = [*work.eurosat(options, bands), *work.training(model, epochs), "trainer=cpu"]
    config = work.compose(options, *common)
    last = work.compose(options, *common, "trainer.channels_last=true")
    pack = ensure_pack(config.data, Path(config.packs_dir))
    expected = work.parameters(work.network(config, pack))
    _check_same_network(model, expected)

    def torchgeo(workers: int, bare: bool) -> float:
        return work.torchgeo_rate(options, work.network(config, pack), workers, epochs, bare=bare, bands=pack.bands)

    subjects = {
        "torchgeo, default": lambda: torchgeo(0, False),
        **{f"torchgeo, {n} workers, bare": lambda n=n: torchgeo(n, True) for n in (0, 1, 2)},
        "raw loop": lambda: work.raw_rate(config, pack, epochs),
        "terrablate": lambda: work.our_rate(config),
        _LAST: lambda: work.our_rate(last),
        f"{_LAST}, 2 slots": lambda: _slots(options, common),
    }
    found = alternate(subjects, options.repeats, warm_up=not options.quick)
    best = best_of(found, [name for name in subjects if name.startswith("torchgeo")])
    compared = ["torchgeo, default", best, "raw loop"]
    return figures(
        model, "images/s", found, {**dict.fromkeys(list(subjects)[-3:], compared), best: ["raw loop"]},
        options, targets=targets,
        conditions=f"{len(pack.bands)} bands, 64 pixels, batch {work.BATCH}, {epochs} epochs, float32, "
        f"{expected} parameters, val once at the end (terrablate: and the probe)",
    )  # fmt: skip


def _check_same_network(model: str, expected: int) -> None:
    """ResNet-18 by torchgeo's own choice, which comes from timm, has as many parameters."""
    if model != "resnet18":
        return
    from torchgeo.tasks import Classification

    own = work.parameters(Classification(model="resnet18", in_channels=13, num_classes=10).model)
    if own != expected:
        raise RuntimeError(f"the networks differ: torchgeo's ResNet-18 has {own} parameters, ours {expected}")


def _slots(options: Options, common: list[str]) -> float:
    """Images a second of two runs at once, of one thread each; of the second pair, when the workers are warm."""
    from terrablate.study.slots import Settings, run_jobs

    alike = [*work.places(options), *common, "trainer.threads=1", "trainer.channels_last=true", "force=true"]
    jobs = [[*(word for word in alike if not word.startswith("seed=")), f"seed={seed}"] for seed in (1, 2, 3, 4)]
    settings = Settings(logs=options.scratch / "logs", slots_per_device=2, devices="cpu")
    outcomes: list[Any] = run_jobs(jobs, settings)
    if failed := [outcome.reason for outcome in outcomes if outcome.kind != "complete"]:
        raise RuntimeError(f"a run of two slots failed: {failed[0]}")
    return sum(work.rate_of(Path(outcome.folder)) for outcome in outcomes[2:])
