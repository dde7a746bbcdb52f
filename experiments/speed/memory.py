"""Row `memory`: what the workers of a study hold, from /proc: shared pages of the pack, and each one's own."""

import threading
from pathlib import Path
from typing import Any

import work
from measure import Figure, Options, figures

_MIB = 1024.0


def memory(options: Options) -> list[Figure]:
    """MiB: of the pack as all slots together hold it, and the peak of a slot beyond it."""
    from terrablate.data.pack import ensure_pack

    count = options.size(8000, 400)
    data = ["data=synthetic", f"data.train={count}", "data.val=200", "data.test=10", "data.size=64"]
    config = work.compose(options, *data)
    pack = ensure_pack(config.data, Path(config.packs_dir))
    size = sum(pack.images(split).nbytes for split in ("train", "val")) / 2**20
    rows: list[Figure] = []
    for slots in (1, 2, 4):
        watch = _Watch(pack.folder)
        with watch:
            _train(options, data, slots)
        found = {
            f"the pack in {slots} slots together": [each / _MIB for each in watch.shared],
            f"peak of a slot beyond the pack, {slots} slots": [watch.beyond / _MIB],
        }
        targets = dict(zip(found, (f"one copy: {size:.0f} MiB", "1,229 MiB"), strict=True))
        rows += figures(
            "memory", "MiB", found, {}, options, targets=targets,
            conditions=f"a pack of {count} chips of 13x64x64 uint16, {size:.0f} MiB; proportional set size",
        )  # fmt: skip
    return rows


def _train(options: Options, data: list[str], slots: int) -> None:
    from terrablate.study.slots import Settings, run_jobs

    common = [*work.places(options), *data, *work.training("lenet", 2, threads=1), "trainer=cpu", "force=true"]
    settings = Settings(logs=options.scratch / "logs", slots_per_device=slots, devices="cpu")
    outcomes: list[Any] = run_jobs([[*common, f"seed={seed}"] for seed in range(slots)], settings)
    if failed := [outcome.reason for outcome in outcomes if outcome.kind != "complete"]:
        raise RuntimeError(f"a run failed: {failed[0]}")


class _Watch:
    """Looks at the children of this process while a study runs.

    Args:
        folder: of the pack.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.shared: list[float] = []
        """KiB that the pack's pages took in all processes together, at each look that found some.

        A page's share is told process by process, so that a look in which one of them begins to read counts too much;
        their median does not.
        """
        self.beyond = 0.0
        """Most KiB that a process had resident besides these pages."""

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.05):
            found = [each for pid in _children() if (each := _of(pid, self._folder)) is not None]
            if total := sum(share for share, _, _ in found):
                self.shared.append(total)
            self.beyond = max([self.beyond, *(whole - pack for _, pack, whole in found)])


def _children() -> list[int]:
    own = Path("/proc/self/task")
    return [int(pid) for task in own.iterdir() for pid in (task / "children").read_text(encoding="ascii").split()]


def _of(pid: int, folder: str) -> tuple[float, float, float] | None:
    """KiB of a process: its share of the pack's pages, these pages, everything resident; None if it has ended."""
    share = pages = whole = 0.0
    is_pack = False
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "Rss":
            whole += float(rest.split()[0])
            pages += float(rest.split()[0]) if is_pack else 0
        elif name == "Pss":
            share += float(rest.split()[0]) if is_pack else 0
        elif "-" in line.split(" ", 1)[0]:  # the head of a mapping
            is_pack = folder in line
    return share, pages, whole
