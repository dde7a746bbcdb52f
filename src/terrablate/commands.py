"""What the commands in `src/*.py` share: help without a start-up cost, and errors as one sentence."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXIT_OK = 0
EXIT_FAILURE = 1
"""Something broke that is no mistake in the input; a traceback says where."""
EXIT_USAGE = 2
"""A mistake in the input; one sentence says which."""
EXIT_INTERRUPTED = 130


_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def show_help(command: str, purpose: str, **more: Any) -> bool:
    """Print the help if it is asked for. Hydra's own rebuilds its repository for each group and takes seconds.

    Args:
        command: how it is called.
        purpose: what it does, in a sentence.
        more: for `choices.help_text`.
    """
    if not {"-h", "--help"} & set(sys.argv[1:]):
        return False
    from terrablate.config.choices import help_text

    sys.stdout.write(help_text(command, purpose, **more) + "\n")
    return True


def hydra_command(task: "Callable[[DictConfig], None]", primary: str = "train", *, sweeps: bool = True) -> int:
    """Let Hydra compose a primary config with the command line and give each job to `task`.

    A job that fails does not stop the others of a sweep.

    Args:
        task: what a job does.
        primary: name of the primary config in `conf/`.
        sweeps: whether -m may be given.

    Returns:
        The exit status.
    """
    import hydra

    from terrablate.config.choices import CONF
    from terrablate.config.resolvers import register

    register()
    for flag in ("-m", "--multirun"):  # Hydra's parser takes flags before the overrides only
        if flag in sys.argv[1:]:
            if not sweeps:
                _say(f"{flag}: this command takes one config at a time; call it once for each")
                return EXIT_USAGE
            sys.argv.remove(flag)
            sys.argv.insert(1, flag)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let its exceptions through, so that they are worded here
    statuses: list[int] = []

    def job(composed: "DictConfig") -> None:
        _announce()
        statuses.append(_guarded(lambda: task(composed), primary))

    # Hydra and Lightning look at the function for the file that was called
    job.__module__ = "__main__"
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=primary)(job)
    statuses.append(_guarded(main, primary))
    return max(statuses)


def _announce() -> None:
    """Say which run of a sweep begins."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    settings = HydraConfig.get()
    if settings.mode == RunMode.MULTIRUN:
        sys.stderr.write(f"\nrun {settings.job.num + 1} of the sweep: {settings.job.override_dirname}\n")


def in_process_of_its_own(script: str) -> bool:
    """Within a sweep, run the present job as a plain single command instead, and wait for it.

    Ranks of a multi-device run re-execute the command line, which in a sweep is the whole sweep.

    Returns:
        False outside a sweep, where nothing was run.

    Raises:
        SystemExit: with the status of the command, if it failed.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        return False
    environment = {name: value for name, value in os.environ.items() if name not in _RANK_VARIABLES}
    command = [sys.executable, str(Path(script).resolve()), *settings.overrides.task]
    status = subprocess.run(command, env=environment, check=False).returncode
    if status:
        raise SystemExit(status if status > 0 else EXIT_FAILURE)
    return True


def _guarded(action: Callable[[], None], primary: str) -> int:
    try:
        action()
    except UserError as error:
        _say(str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else EXIT_FAILURE if error.code else EXIT_OK
    except Exception as error:  # the last instance: word what Hydra raises, show a traceback of all else
        from terrablate.config.messages import of_hydra

        sentence = of_hydra(error, primary)
        if sentence is None:
            traceback.print_exc()
            return EXIT_FAILURE
        _say(sentence)
        return EXIT_USAGE
    return EXIT_OK


def _say(text: str) -> None:
    sys.stderr.write("".join(f"error: {line}\n" for line in text.splitlines()))
