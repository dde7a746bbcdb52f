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
    from terrablate.imports import install

    install()
    register()
    for flag in ("-m", "--multirun"):  # Hydra's parser takes flags before the overrides only
        if flag in sys.argv[1:]:
            if not sweeps:
                _say(f"{flag}: this command takes one config at a time; call it once for each")
                return EXIT_USAGE
            sys.argv.remove(flag)
            sys.argv.insert(1, flag)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let its exceptions through, so that they are worded here
    job = _Job(task, primary)
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=primary)(job)
    status = attempt(main, primary).status
    return max([status, *job.statuses])


class _Job:
    """What Hydra calls with the composed config of each job, here or in a launcher's process on any machine.

    Args:
        task: what a job does.
        primary: name of the primary config.
    """

    def __init__(self, task: "Callable[[DictConfig], Outcome | None]", primary: str) -> None:
        self.__wrapped__ = task  # Hydra looks there for the file that was called
        self._primary = primary
        self.statuses: list[int] = []
        """Of the jobs in this process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _job_elsewhere, (self.__wrapped__, self._primary)

    def __call__(self, composed: "DictConfig") -> "Outcome":
        from hydra.core.hydra_config import HydraConfig

        in_sweep = _announced()
        outcome = attempt(lambda: self.__wrapped__(composed), self._primary)
        if in_sweep:
            _note(composed, outcome)
            if outcome.kind == "interrupted":
                raise KeyboardInterrupt  # else the sweep would begin its next run
            if failure := failure_for_sweeper(outcome, HydraConfig.get()):
                raise failure
        elif file := os.environ.get(_OUTCOME_FILE):
            _write_outcome(Path(file), outcome)
        self.statuses.append(outcome.status)
        return outcome


class JobError(Exception):
    """A job gave no number to a sweeper that searches for the best one.

    Args:
        reason: one sentence.
        status: exit status of the job.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


def is_foreign(settings: Any) -> bool:
    """Whether the sweeper is not ours.

    Args:
        settings: the section `hydra` of the sweep's config.
    """
    return bool(settings.runtime.choices["hydra/sweeper"] != "study")


def failure_for_sweeper(outcome: "Outcome", settings: Any) -> JobError | None:
    """What Hydra's own sweepers and Optuna's take for a failed job; ours looks at outcomes.

    Args:
        outcome: of a job of a sweep.
        settings: the section `hydra` of the sweep's config.
    """
    if outcome == outcome or not is_foreign(settings):
        return None
    return JobError(f"no val accuracy: {outcome.reason or outcome.kind}", outcome.status or EXIT_FAILURE)


def _job_elsewhere(task: "Callable[[DictConfig], Outcome | None]", primary: str) -> _Job:
    """A job in a process that a launcher has started: the folders in its config need our resolvers."""
    from terrablate.config.resolvers import register

    register()
    return _Job(task, primary)


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
        try:
            StudyFolder(Path(composed.studies_dir) / study.name).add(study.member.variant, composed.seed, outcome)
        except UserError as error:  # the run itself is safe; the sweep goes on, and writes its table at the end
            sys.stderr.write(f"warning: {error}\n")


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
    except JobError as error:
        _say(str(error))
        return ended(error.status, "failed", str(error))
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
