"""What the commands in `src/*.py` share: help without a start-up cost, and errors as one sentence."""

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from terrablate.study.outcome import Kind, Outcome

EXIT_OK = 0
EXIT_FAILURE = 1
"""Something broke that is no mistake in the input; a traceback says where."""
EXIT_USAGE = 2
"""A mistake in the input; one sentence says which."""
EXIT_INTERRUPTED = 130


_KINDS: "dict[int, Kind]" = {EXIT_OK: "complete", EXIT_USAGE: "refused", EXIT_INTERRUPTED: "interrupted"}
_OUTCOME_FILE = "TERRABLATE_OUTCOME_FILE"
"""Where a command that a sweep started writes how it ended."""
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


def hydra_command(
    task: "Callable[[DictConfig], Outcome | None]", primary: str = "train", *, sweeps: bool = True
) -> int:
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

    def job(composed: "DictConfig") -> "Outcome":
        in_sweep = _announced()
        outcome = attempt(lambda: task(composed), primary)
        statuses.append(outcome.status)
        if in_sweep:
            _note(composed, outcome)
            if outcome.kind == "interrupted":
                raise KeyboardInterrupt  # else the sweep would begin its next run
        elif file := os.environ.get(_OUTCOME_FILE):
            _write_outcome(Path(file), outcome)
        return outcome

    # Hydra and Lightning look at the function for the file that was called
    job.__module__ = "__main__"
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=primary)(job)
    statuses.append(attempt(main, primary).status)
    return max(statuses)


def _announced() -> bool:
    """Say which run of a sweep begins; whether there is a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        return False
    sys.stderr.write(f"\nrun {settings.job.num + 1} of the sweep: {settings.job.override_dirname}\n")
    return True


def _note(composed: "DictConfig", outcome: "Outcome") -> None:
    """Into the table of the study that the run belongs to."""
    from terrablate.study.folder import StudyFolder

    study = composed.study
    if study.name is not None and study.member.variant is not None:
        StudyFolder(Path(composed.studies_dir) / study.name).add(study.member.variant, composed.seed, outcome)


def _write_outcome(path: Path, outcome: "Outcome") -> None:
    """For the sweep that started this command; by the first of several ranks."""
    if not any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK")):
        path.write_text(json.dumps(outcome.to_dict()), encoding="utf-8")


def in_process_of_its_own(script: str, overrides: Sequence[str]) -> "Outcome":
    """Run a job of a sweep as a plain single command and wait for it.

    Ranks of a multi-device run re-execute the command line, which in a sweep is the whole sweep.

    Args:
        script: the command's file.
        overrides: of the job.

    Raises:
        SystemExit: with the status of the command, if it left no outcome.
    """
    from terrablate.study.outcome import Outcome

    environment = {name: value for name, value in os.environ.items() if name not in _RANK_VARIABLES}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcome.json"
        command = [sys.executable, str(Path(script).resolve()), *overrides]
        status = subprocess.run(command, env={**environment, _OUTCOME_FILE: str(file)}, check=False).returncode
        if file.is_file():
            return Outcome.from_dict(json.loads(file.read_text(encoding="utf-8")))
    raise SystemExit(status if status > 0 else EXIT_FAILURE)


def attempt(action: "Callable[[], Outcome | None]", primary: str) -> "Outcome":
    """Do something; a mistake is said in one sentence, anything else that breaks with its traceback.

    Args:
        action: what is done.
        primary: name of the primary config, for the wording of Hydra's errors.
    """
    from terrablate.study.outcome import Outcome

    began = time.monotonic()

    def ended(status: int, kind: "Kind", reason: str | None = None) -> Outcome:
        return Outcome(status=status, kind=kind, reason=reason, seconds=time.monotonic() - began)

    try:
        outcome = action()
    except UserError as error:
        _say(str(error))
        return ended(EXIT_USAGE, "refused", str(error))
    except KeyboardInterrupt:
        return ended(EXIT_INTERRUPTED, "interrupted")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else EXIT_FAILURE if error.code else EXIT_OK
        return ended(status, _KINDS.get(status, "failed"))
    except Exception as error:  # the last instance: word what Hydra raises, show a traceback of all else
        from terrablate.config.messages import of_hydra

        sentence = of_hydra(error, primary)
        if sentence is not None:
            _say(sentence)
            return ended(EXIT_USAGE, "refused", sentence)
        traceback.print_exc()
        kind: Kind = "out_of_memory" if _is_out_of_memory(error) else "failed"
        return ended(EXIT_FAILURE, kind, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return outcome if isinstance(outcome, Outcome) else ended(EXIT_OK, "complete")


def _is_out_of_memory(error: Exception) -> bool:
    """Of the device, or of the machine; torch is not imported for it."""
    return type(error).__name__ in ("OutOfMemoryError", "MemoryError") or "out of memory" in str(error).lower()


def _say(text: str) -> None:
    sys.stderr.write("".join(f"error: {line}\n" for line in text.splitlines()))
