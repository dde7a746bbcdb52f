"""Row `study`: 48 short LeNet runs, 50 labels a class, 10 epochs: six learning rates, eight seeds."""

import os
import sys
from collections.abc import Callable
from itertools import product

import work
from measure import HERE, PROJECT, Figure, Options, alternate, figures, seconds_of

_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


def study(options: Options) -> list[Figure]:
    """Seconds for all runs, each way from nothing: ours packs the data first.

    What each part gives: `48 calls` reads packs, `one process` keeps the imports as well (Hydra's basic launcher),
    `one worker` is that with the pool, and `slots` has as many workers as cores, with a thread each; all others use
    all cores.

    Of calls a quarter is made, two seeds of each learning rate, and its time taken four times: each call is a process
    of its own and does the same work. Ours pack in the first, once.
    """
    rates, seeds = options.size(6, 2), options.size(8, 1)
    epochs = options.size(10, 1)
    grid = list(product(_RATES[:rates], range(seeds)))
    part = 1 if options.quick else 4
    called = list(product(_RATES[:rates], range(seeds // part)))
    counter = iter(range(10_000))

    def fresh() -> Options:
        """An empty scratch folder: nothing is packed and nothing is done."""
        scratch = options.scratch / f"study{next(counter)}"
        return Options(options.data_root, scratch, options.repeats, options.quick)

    script = [sys.executable, str(HERE / "torchgeo_script.py"), "per_class=50", f"epochs={epochs}"]
    script += [f"root={options.data_root / 'eurosat'}", f"bands=[{','.join(work.RGB)}]"]
    ours = [sys.executable, str(PROJECT / "src" / "train.py")]
    listed = [
        f"{name}={','.join(map(str, values))}" for name, values in (("lr", _RATES[:rates]), ("seed", range(seeds)))
    ]

    def their_calls() -> float:
        out = f"out={fresh().scratch}"
        return part * sum(seconds_of([*script, out, f"lr={rate}", f"seed={seed}"]) for rate, seed in called)

    def their_multirun() -> float:
        return seconds_of([*script[:2], "-m", *script[2:], f"out={fresh().scratch}", *listed])

    def run(place: Options, threads: int = len(os.sched_getaffinity(0))) -> list[str]:
        loop = [
            word
            for word in work.training("lenet", epochs, threads=threads)
            if not word.startswith(("seed", "optim.lr"))
        ]
        loop = [word for word in loop if not word.startswith("eval_every")]  # each epoch, as torchgeo does
        return [*work.places(place), *work.eurosat(place, "rgb"), *loop, "trainer=cpu", "data.train_per_class=50"]

    def our_calls() -> float:
        place = fresh()
        first, *rest = (seconds_of([*ours, *run(place), f"optim.lr={rate}", f"seed={seed}"]) for rate, seed in called)
        return first + (len(grid) - 1) * sum(rest) / len(rest)

    def our_sweep(*launcher: str, **threads: int) -> Callable[[], float]:
        return lambda: seconds_of([*ours, "-m", *run(fresh(), **threads), *launcher, f"optim.{listed[0]}", listed[1]])

    count = len(grid)
    found = alternate(
        {
            f"torchgeo, {count} calls": their_calls,
            "torchgeo, Hydra's multirun in one process": their_multirun,
            f"terrablate, {count} calls": our_calls,
            "terrablate, one process": our_sweep("hydra/launcher=basic"),
            "terrablate, one worker": our_sweep("hydra.launcher.slots_per_device=1"),
            "terrablate, slots": our_sweep(threads=1),
        },
        max(1, options.repeats // 2),
        warm_up=False,
    )
    calls, multirun = list(found)[:2]
    return figures(
        "study", "s", found, {name: [calls, multirun] for name in list(found)[2:]}, options,
        targets={"terrablate, slots": "8 x the calls, 3 x the multirun"},
        conditions=f"{count} runs of LeNet on EuroSAT, RGB, 50 labels a class, {epochs} epochs, val each "
        "epoch; packing included",
    )  # fmt: skip
