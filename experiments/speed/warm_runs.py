"""Runs after one another in a process that stays, as a worker of `slots` does: `warm_runs.py COUNT [override ...]`.

Prints a line a run: the seconds of the whole job less those of training and evaluation, and CPU seconds of the job.
Pictures are drawn elsewhere.
"""

import gc
import json
import sys
import time
from pathlib import Path

from terrablate.study.worker_job import run_job


def main() -> None:
    """The first run warms up and is not told."""
    count, overrides = int(sys.argv[1]), sys.argv[2:]
    gc.freeze()
    for seed in range(count + 1):
        began, cpu = time.perf_counter(), time.process_time()
        outcome = run_job([*overrides, f"seed={seed}"], {})
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        result = json.loads((Path(outcome.folder or "") / "result.json").read_text(encoding="utf-8"))
        if seed:
            sys.stdout.write(f"between {seconds - result['cost']['seconds']:.4f} {cpu:.4f}\n")


if __name__ == "__main__":
    main()
