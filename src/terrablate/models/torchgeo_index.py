"""Names of the weights that torchgeo publishes, read off its sources, because importing torchgeo takes seconds.

A test compares them with torchgeo's own registry.
"""

import functools
import importlib.util
import re
from pathlib import Path

_ENUM = re.compile(r"^class (\w+)\(\w*(?:WeightsEnum|_Weights)\):\n((?:[ \t].*\n|\n)*)", re.MULTILINE)
_MEMBERS = re.compile(r"^    ((?:\w+ = )+)Weights\(", re.MULTILINE)
"""One member, or several names of one: a deprecated and a new one."""


@functools.cache
def weight_names() -> frozenset[str]:
    """Enum and member of all weights in `torchgeo.models`, such as ResNet18_Weights.SENTINEL2_ALL_MOCO."""
    specification = importlib.util.find_spec("torchgeo")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("torchgeo")
    folder = Path(specification.origin).parent / "models"
    source = "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))
    return frozenset(
        f"{enum}.{member}"
        for enum, body in _ENUM.findall(source)
        for names in _MEMBERS.findall(body)
        for member in names.removesuffix(" = ").split(" = ")
    )
