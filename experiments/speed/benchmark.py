"""The speed of terrablate beside that of its peers: `python experiments/speed/benchmark.py [row ...] [--quick]`.

Figures go to `speed.csv` beside this file, a line each, with machine, versions and commit. Peers and ours take turns in
one run, page cache warm for both; a figure is the median over the rounds.
"""

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

from measure import HERE, Options, show, write

ROWS = {
    "reading": ("reading", "packed batches against torchgeo's DataLoader, 13 bands and RGB"),
    "lenet": ("training", "LeNet at 64 pixels: torchgeo, a raw loop, ours, ours in two slots"),
    "resnet18": ("training", "ResNet-18 at 64 pixels: the same"),
    "equivalence": ("equivalence", "val accuracy of a small network over seeds, torchgeo and ours"),
    "overhead": ("overhead", "time a step beyond a raw loop, and Lightning's part of it"),
    "augmentation": ("augmentation", "aug=all against ResNet-18's step and against kornia"),
    "start": ("launching", "--help, --cfg job and a mistake in the config"),
    "launch": ("launching", "from the call to the first optimizer step"),
    "warm": ("launching", "from one run to the next in a warm worker"),
    "study": ("studying", "48 short LeNet runs: calls of a torchgeo script, Hydra's multirun of it, ours"),
    "memory": ("memory", "one copy of the pack for all slots, and the peak of a slot beyond it"),
    "gpu": ("gpu", "ResNet-18 alone under the options of a GPU; 1 to 16 runs at once on one, with and without MPS"),
    "scaling": ("scaling", "packing and epoch time up to a million chips; memory while a pack is read from disk"),
}
"""Module and sentence of each row; the module has a function of the row's name."""
MADE_UP = {"augmentation", "memory", "gpu", "scaling"}
"""Rows whose data are made up."""


def main() -> int:
    """Measure what is asked for; a row that breaks does not stop the others."""
    listed = "\n".join(f"  {name:<13} {sentence}" for name, (_, sentence) in ROWS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"rows:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="row", help="what to measure; all if none is named")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs; no figures")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5; 1 with --quick)")
    parser.add_argument(
        "--data-root", type=Path, default=os.environ.get("DATA_DIR"), help="folder with eurosat/ (default: DATA_DIR)"
    )
    parser.add_argument("--out", type=Path, default=HERE / "speed.csv", help="gets the figures (default: speed.csv)")
    given = parser.parse_args()
    if unknown := [row for row in given.rows if row not in ROWS]:
        parser.error(f"{unknown[0]}: there is no such row; allowed: {', '.join(ROWS)}")
    if given.repeats < 1:
        parser.error(f"--repeats={given.repeats}: expected at least 1")
    rows = given.rows or list(ROWS)
    has_data = given.data_root is not None and (given.data_root / "eurosat").is_dir()
    if not has_data and not MADE_UP.issuperset(rows):
        parser.error(f"--data-root={given.data_root}: expected a folder with eurosat/ as torchgeo lays it out")
    status = 0
    with tempfile.TemporaryDirectory(prefix="terrablate-speed-") as scratch:
        repeats = 1 if given.quick else given.repeats
        options = Options((given.data_root or Path(scratch)).resolve(), Path(scratch), repeats, given.quick)
        for row in rows:
            try:
                found = getattr(importlib.import_module(ROWS[row][0]), row)(options)
            except Exception:  # the others are still of use
                traceback.print_exc()
                status = 1
                continue
            sys.stdout.write(show(found) + "\n")
            sys.stdout.flush()
            write(found, given.out)
    if given.quick:
        sys.stdout.write("--quick: sizes were cut to see that everything runs; these figures answer nothing\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
