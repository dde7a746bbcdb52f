"""Writing pages: of a study, of runs, of one run; once, or whenever something changes."""

import dataclasses
import functools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from terrablate.errors import UserError
from terrablate.report.settings import Settings, run_folder, run_folders, study_folder
from terrablate.training.record import write_whole

if TYPE_CHECKING:
    from terrablate.study.answers import Answer
    from terrablate.study.evidence import Evidence

logger = logging.getLogger(__name__)

PAGE, MARKDOWN = "report.html", "report.md"
_WATCHED = ("study.yaml", "plan.json", "runs.csv", "test_openings.csv")
_WATCHED_OF_RUNS = (
    "result.json",
    "metrics.csv",
    "robustness.json",
    "test.json",
    "suspects.csv",
    "explain/index.json",
    "explain/reasons.json",
)


@dataclass(frozen=True)
class Written:
    """A page on disk.

    Args:
        page: its file.
        sentence: that answers.
        problems: what was damaged and left out.
    """

    page: Path
    sentence: str
    problems: Sequence[str] = ()

    def tell(self) -> None:
        """Say so in the terminal."""
        size = self.page.stat().st_size / 1e6
        sys.stdout.write(f"{self.sentence}\n")
        sys.stderr.write("".join(f"warning: {problem}\n" for problem in self.problems))
        sys.stdout.write(f"page          {self.page} ({size:.1f} MB)\n")
        sys.stdout.flush()


def make_report(settings: Settings) -> None:
    """What `report.py` does.

    Raises:
        UserError: if what is asked for is not there, or the page cannot be written.
    """
    output = None if settings.output is None else Path(settings.output)
    if settings.run is not None:
        folder = run_folder(settings)

        def make(reload: int | None) -> Written:
            return write_run(folder, output or folder, reload)

        def places() -> Iterable[Path]:
            return _files_of([folder])
    elif settings.runs is not None:

        def make(reload: int | None) -> Written:
            folders = run_folders(settings)
            return write_runs(folders, output or _above(folders), reload)

        def places() -> Iterable[Path]:
            return _files_of(run_folders(settings))
    else:
        study = study_folder(settings)

        def make(reload: int | None) -> Written:
            return write_study(study, output or study, reload)

        def places() -> Iterable[Path]:
            return _files_of_study(study)

    if not settings.watch:
        make(None).tell()
    if settings.wandb is not None:
        from terrablate.study.workspace import save_workspace

        address = save_workspace(study_folder(settings), *settings.wandb.split("/"))
        sys.stdout.write(f"workspace     {address}\n")
    if settings.watch:
        _watch(make, places, settings.every)


def write_study(folder: Path, output: Path, reload: int | None = None) -> Written:
    """Answer a study and write its page, figures and tables.

    Args:
        folder: of the study.
        output: where they go.
        reload: seconds after which the open page reads itself anew.

    Raises:
        UserError: if there is no study, or the files cannot be written.
    """
    from terrablate.study.evidence import read_study

    return _write(read_study(folder), output, reload)


def write_runs(folders: Sequence[Path], output: Path, reload: int | None = None) -> Written:
    """The same for runs without a study.

    Raises:
        UserError: if none of them is a finished run, or the files cannot be written.
    """
    from terrablate.study.evidence import read_runs

    return _write(read_runs(folders), output, reload)


def write_run(folder: Path, output: Path, reload: int | None = None) -> Written:
    """The page of one run.

    Raises:
        UserError: if the record is damaged, or the page cannot be written.
    """
    from terrablate.report.run_page import run_page
    from terrablate.study.evidence import read_runs

    evidence = _called(read_runs([folder]), "this run")
    html, problems = run_page(evidence, output, _now(), reload)
    page = output / PAGE
    _put({page: html.encode()})
    return Written(page, evidence.runs[0].texts.get("overfitting.sentence", evidence.runs[0].status), problems)


def _called(evidence: "Evidence", name: str) -> "Evidence":
    """With another name for its only variant."""
    variants = tuple(dataclasses.replace(variant, name=name) for variant in evidence.variants)
    runs = tuple(dataclasses.replace(run, variant=name) for run in evidence.runs)
    return dataclasses.replace(evidence, variants=variants, runs=runs)


def write_after_study(answered: "Answer", folder: Path) -> None:
    """The page at the end of a study; that it cannot be drawn is a warning, and never fails the study.

    Args:
        answered: the answer.
        folder: of the study.
    """
    try:
        written = write_answered(answered, folder)
    except Exception as error:  # a drawing is not worth a study
        sys.stderr.write(f"warning: the page of the study could not be drawn: {type(error).__name__}: {error}\n")
        logger.debug("no page", exc_info=True)
    else:
        sys.stdout.write(f"page          {written.page}\n")


def write_answered(answered: "Answer", output: Path, reload: int | None = None) -> Written:
    """The page, figures and Markdown of a study whose answer's own files stand in the folder.

    Args:
        answered: the answer.
        output: folder with `effects.csv` and `effects.tex`.
        reload: seconds after which the open page reads itself anew.

    Raises:
        UserError: if the files cannot be written.
    """
    from terrablate.report import effect_views
    from terrablate.report.markdown import effects_table, markdown
    from terrablate.report.study_page import study_page

    evidence, made = answered.evidence, _now()
    effects = effect_views.primary(answered.effects, evidence.metric)
    downloads = {end: (output / f"effects.{end}").read_text(encoding="utf-8") for end in ("csv", "tex")}
    downloads["md"] = effects_table(effects, effect_views.means(answered.effects, evidence.metric)) + "\n"
    html, data, problems = study_page(answered, output, downloads, made, reload)
    files: dict[Path, bytes] = {output / PAGE: html.encode()}
    pictures = _pictures(evidence, effects, data)
    files |= {output / name: content for name, content in pictures.items()}
    files[output / MARKDOWN] = markdown(answered, problems, made, pictures).encode()
    _put(files)
    sentence = answered.sentences[0] if answered.sentences else "No run has ended well yet."
    return Written(output / PAGE, sentence, problems)


def _write(evidence: "Evidence", output: Path, reload: int | None) -> Written:
    from terrablate.study.answers import answer, write_answer

    answered = answer(evidence)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_answer(answered, output)
    except OSError as error:
        raise UserError(f"output: {output} cannot be written: {error.strerror or error}") from error
    return write_answered(answered, output, reload)


def _pictures(evidence: "Evidence", effects: Sequence[Any], data: dict[str, Any]) -> dict[str, bytes]:
    """Figures by file name."""
    from terrablate.report.figures import draw_curves, draw_effects, shown_in_curves

    found: dict[str, bytes] = {}
    note = "synthetic data, not real" if data["synthetic"] else ""
    drawn = [effect for effect in effects if effect.estimate is not None]
    if drawn:
        found |= {
            f"effects.{kind}": content
            for kind, content in draw_effects(drawn, data["variants"][0]["name"], note).items()
        }
    if "nll/val" in data["curveNames"]:
        names = [variant.name for variant in evidence.variants]
        places = shown_in_curves(effects, names)
        if len(places) < len(names):
            few = f"baseline and the {len(places) - 1} largest effects of {len(names)} variants"
            note = f"{note}; {few}" if note else few
        found |= {f"curves.{kind}": content for kind, content in draw_curves(data, places, note).items()}
    return found


def _put(files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, functools.partial(_write_bytes, content=content))
        except OSError as error:
            raise UserError(f"output: {path} cannot be written: {error.strerror or error}") from error


def _write_bytes(file: IO[bytes], content: bytes) -> None:
    file.write(content)


def _above(folders: Sequence[Path]) -> Path:
    """The folder that holds the runs."""
    import os

    return Path(os.path.commonpath([folder.resolve().parent for folder in folders]))


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _files_of(folders: Iterable[Path]) -> list[Path]:
    return [folder / name for folder in folders for name in _WATCHED_OF_RUNS]


def _files_of_study(folder: Path) -> list[Path]:
    from terrablate.report.running import with_running
    from terrablate.study.evidence import read_study

    own = [folder / name for name in _WATCHED]
    try:
        runs = with_running(read_study(folder)).runs
        return own + _files_of(run.folder for run in runs if run.folder is not None)
    except UserError:
        return own


def _watch(make: Callable[[int | None], Written], places: Callable[[], Iterable[Path]], every: float) -> None:
    """Write the page whenever a file changes, until Ctrl-C; then once more, for good."""
    sys.stderr.write("watching; Ctrl-C ends it\n")
    known: object = None
    try:
        while True:
            now = [(path, _stamp(path)) for path in places()]
            if now != known:
                known = now
                try:
                    make(max(1, round(every))).tell()
                except UserError as error:  # a record that is being written; the next look finds it whole
                    sys.stderr.write(f"warning: {error}\n")
            time.sleep(every)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        make(None).tell()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
