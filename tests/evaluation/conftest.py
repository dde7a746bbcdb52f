"""What tests of evaluation share: one study of two variants and two seeds, trained once, copied for each test."""

import shutil
from pathlib import Path

import pytest

from evaluations import move, write_study


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs, packs of train and val, and the study `tiny`."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_study(folder, {"plain": [], "dropout": ["dropout=head", "dropout.p=0.5"]}, (0, 1))
    return folder


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    folder = tmp_path / "home"
    shutil.copytree(trained, folder)
    move(folder / "studies" / "tiny", trained, folder)
    return folder


@pytest.fixture
def study(home: Path) -> Path:
    """The folder of the study."""
    return home / "studies" / "tiny"
