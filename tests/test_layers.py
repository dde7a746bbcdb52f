"""Imports point down the layers of the house only, so that each part can be read and replaced by itself."""

import ast
from pathlib import Path

import pytest

import terrablate

PACKAGE = Path(terrablate.__file__).parent
LAYERS = (
    {"errors", "random_streams", "imports"},
    {"config"},
    {"data", "augment", "models"},
    {"training"},
    {"describe", "study"},
    {"evaluation", "explain"},
    {"report"},
)
COMMANDS = {"study", "config", "imports", "errors"}
"""What `commands` needs of the layers: how jobs end, and how errors are worded."""
SPARED = {("config", "models"), ("config", "training"), ("study", "commands")}
"""Checks ask for names, which are read off without importing torch; workers word errors as commands do."""


def height(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def imports_of(part: str) -> set[str]:
    """The parts of the package that the files of one import, anywhere in them."""
    folder = PACKAGE / part
    found = set()
    for file in folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{part}.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module == "terrablate":
                names += [f"terrablate.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            found |= {name.split(".")[1] for name in names if name.startswith("terrablate.")}
    return found - {part}


PARTS = sorted(path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())


def test_every_part_has_its_layer() -> None:
    assert set(PARTS) - {"__init__", "commands"} == set().union(*LAYERS)


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("__init__", "commands")])
def test_imports_point_down(part: str) -> None:
    up = {
        other for other in imports_of(part)
        if (part, other) not in SPARED and (other == "commands" or height(other) >= height(part))
    }  # fmt: skip
    assert up == set()


def test_commands_know_how_jobs_end_and_no_more() -> None:
    assert imports_of("commands") <= COMMANDS
