"""What is refused before the test split is opened: splits that are not there, folders that cannot be written."""

import dataclasses
import tempfile
from pathlib import Path

from terrablate.config.schema import FolderData
from terrablate.data.source import SPLITS, Source
from terrablate.errors import ConfigError, DataError, UserError
from terrablate.evaluation.data import check_split, own_test_data
from terrablate.evaluation.openings import openings
from terrablate.evaluation.outcome import told
from terrablate.evaluation.settings import Settings
from terrablate.evaluation.subjects import Subjects
from terrablate.evaluation.unlock import register_name


def check_splits(settings: Settings, subjects: Subjects) -> Source | None:
    """Refuse a split that is not there.

    Args:
        settings: of the command line.
        subjects: runs that are evaluated.

    Returns:
        The source of other data, if it is at hand.

    Raises:
        DataError: if the data, or the split, are not there.
    """
    packs_dir = Path(settings.packs_dir)
    if settings.data is not None:
        source = None
        for split in SPLITS:
            if settings.split in (split, "all"):
                source = check_split(settings.data, split, packs_dir)
        return source
    if settings.opens:
        data = [own_test_data(subject.config, settings) for subject in subjects.runs]
        for each in {repr(dataclasses.replace(each, subset_seed=0)): each for each in data}.values():
            try:
                check_split(each, "test", packs_dir)
            except DataError as error:
                hint = "; data.test_list=<file> gives it here" if isinstance(each, FolderData) else ""
                raise DataError(f"{str(error).rstrip('.')}{hint}") from error
    return None


def check_folders(settings: Settings, subjects: Subjects) -> None:
    """Refuse folders that cannot be written, before the test split is opened for nothing.

    Args:
        settings: of the command line.
        subjects: runs that are evaluated.

    Raises:
        UserError: names the folder, or a register that is damaged.
        ConfigError: if figures of other data of the same name would be lost.
    """
    openings(subjects.folder, register_name(settings))  # refuses a damaged one before anything is computed
    for subject in subjects.runs if settings.data is not None else ():
        assert settings.data is not None
        root = told(subject.record.folder, settings.stem).get("root", settings.data.root)
        if root != settings.data.root:
            raise ConfigError(
                f"data.name={settings.data.name}: {subject.record.folder / settings.stem}.json holds the figures on"
                f" {root}; give these data a name of their own with data.name=..."
            )
    for folder in (subjects.folder, *(subject.record.folder for subject in subjects.runs)):
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".evaluate-"):
                pass
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror or error}), and figures and openings are kept there;"
                " copy it to where it can"
            ) from error
