"""What tests of data share: data modules on one tiny pack."""

from collections.abc import Callable
from pathlib import Path

import pytest

from terrablate.config import Config
from terrablate.data.module import ChipDataModule

Compose = Callable[..., Config]


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs")


@pytest.fixture
def module(compose: Compose, packs: Path) -> Callable[..., ChipDataModule]:
    """40 train and 20 val images of 10 classes, packed once."""

    def made(*overrides: str, world_size: int = 1) -> ChipDataModule:
        return ChipDataModule(compose(f"packs_dir={packs}", *overrides), world_size=world_size)

    return made
