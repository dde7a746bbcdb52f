"""A pool of fake runs in a process of its own, to be interrupted and killed: python fake_pool.py LOGS SLOTS JOB..."""

import sys
from pathlib import Path

from terrablate.study.outcome import Outcome
from terrablate.study.slots import Settings, run_jobs


def tell(index: int, outcome: Outcome) -> None:
    sys.stdout.write(f"{index} {outcome.kind}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    settings = Settings(
        logs=Path(sys.argv[1]),
        devices="cpu",
        slots_per_device=int(sys.argv[2]),
        runner="fake_runs:run",
    )
    try:
        run_jobs([job.split() for job in sys.argv[3:]], settings, tell)
    except KeyboardInterrupt:
        sys.exit(130)
