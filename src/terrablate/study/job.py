"""One job of a sweep, or a single run, and how it ended."""

import logging
import time

from terrablate.config.schema import Config
from terrablate.errors import Busy
from terrablate.study.outcome import Outcome, outcome_of
from terrablate.training.hardware import process_rank
from terrablate.training.run import run

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0


def train_and_tell(config: Config, *, waits: bool = False, draws: bool = True) -> Outcome:
    """Train a run, or find it done.

    Args:
        config: of the run.
        waits: for another process that trains this very run, to take its result over.
        draws: the pictures of its record, too; else they wait for `pictures.draw_of`.

    Raises:
        UserError: as `run` does.
    """
    began = time.monotonic()
    while True:
        try:
            record = run(config, draws=draws)
        except Busy as error:
            if not waits:
                raise
            logger.info("%s", error)
            time.sleep(POLL_SECONDS)
        else:
            if process_rank() > 0:  # rank 0 still writes the record; a status of its own would end it
                return Outcome(folder=str(record.folder), seconds=time.monotonic() - began)
            return outcome_of(str(record.folder), record.result(), time.monotonic() - began)
