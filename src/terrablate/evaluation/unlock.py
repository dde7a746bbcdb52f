"""From the runs of a call to a line in the register of openings, and what a person is told of it."""

from pathlib import Path

from terrablate.evaluation.openings import FILE, TRANSFERS, Opening, opened_elsewhere, write_opening
from terrablate.evaluation.outcome import openings_told_by
from terrablate.evaluation.settings import Settings
from terrablate.evaluation.subjects import Subjects


def open_for(settings: Settings, subjects: Subjects, commit: str) -> Opening:
    """Write down that the runs are about to see images that were locked.

    Args:
        settings: of the command line.
        subjects: runs that are evaluated.
        commit: of the code that evaluates.

    Raises:
        UserError: if the register is damaged or cannot be written.
    """
    names = [subject.record.folder.resolve().name for subject in subjects.runs]
    known = max(openings_told_by(subject.record.folder, settings.stem) for subject in subjects.runs)
    return write_opening(
        _register(settings, subjects),
        study=subjects.name if subjects.is_study else "",
        runs=names,
        data=_data_name(settings, subjects),
        split=settings.split,
        options=" ".join(filter(None, (settings.options, "allow_missing=true" if settings.allow_missing else ""))),
        known=known,
        commit=commit,
    )


def register_name(settings: Settings) -> str:
    """Of the file that openings are written into."""
    return FILE if settings.data is None else TRANSFERS


def _register(settings: Settings, subjects: Subjects) -> Path:
    return subjects.folder / register_name(settings)


def _data_name(settings: Settings, subjects: Subjects) -> str:
    """Of the dataset that is opened; of studies that vary it, all names."""
    if settings.data is not None:
        return settings.data.name
    return "+".join(sorted({subject.config.data.name for subject in subjects.runs}))


def opening_sentence(settings: Settings, subjects: Subjects, opening: Opening) -> str:
    """How often these images were looked at, for these runs and by other studies.

    Args:
        settings: of the command line.
        subjects: runs that are evaluated.
        opening: as written down.
    """
    register = _register(settings, subjects)
    what = f"the {opening.split} split of {opening.data}"
    if opening.split == "all":
        what = f"all of {opening.data}"
    text = f"opening {opening.count}: {what}, {runs_in_words(len(subjects.runs))}; written down in {register}"
    if opening.count > 1:
        before = "once" if opening.count == 2 else f"{opening.count - 1} times"
        text += f"\n{what} was opened {before} before for these runs: a choice that rests on it is not tested by it"
    elsewhere = opened_elsewhere(register, opening.data, opening.split) if subjects.is_study else {}
    if elsewhere:
        others = ", ".join(f"{name} ({count})" for name, count in elsewhere.items())
        text += f"\n{what} was opened by other studies here, too: {others}"
    return text


def runs_in_words(count: int) -> str:
    """`1 run`, `24 runs`."""
    return "1 run" if count == 1 else f"{count} runs"
