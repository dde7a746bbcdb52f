"""Real trainings for tests of slots, with a small forest in their classical floor.

`run` is for workers. As a script, each run has a fresh process: python tiny_runs.py "OVERRIDES" "OVERRIDES" ...
"""

import os
import sys
from collections.abc import Mapping, Sequence

from helpers import import_what_runs_end_with
from terrablate.config import parse
from terrablate.study.outcome import Outcome
from terrablate.study.worker_job import run_job
from terrablate.training import floor
from terrablate.training.run import run as train

floor.TREES = 10


def run(overrides: Sequence[str], environment: Mapping[str, str | None]) -> Outcome:
    """As workers do."""
    return run_job(overrides, environment)


def plain(overrides: Sequence[str]) -> None:
    """As `src/train.py` does."""
    from hydra import compose, initialize_config_dir

    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(parse(compose("train", overrides=list(overrides))))


if __name__ == "__main__":
    import_what_runs_end_with()
    for words in sys.argv[1:]:
        pid = os.fork()  # of a process that has imported torch and never trained
        if pid == 0:
            plain(words.split())
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            sys.exit(1)
