"""Names and published weights of torchvision's classification networks, read off its sources without importing it.

A test compares both with torchvision's own registry.
"""

import functools
import importlib.util
import re
from pathlib import Path

_BUILDER = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\([^)]*?\bweights: Optional\[(\w+)\]", re.MULTILINE)
_ENUM = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ \t].*\n|\n)*)", re.MULTILINE)
_MEMBER = re.compile(r"^    (\w+) = Weights\(", re.MULTILINE)
_DEFAULT = re.compile(r"^    DEFAULT = (\w+)$", re.MULTILINE)


def model_names() -> frozenset[str]:
    """Names of the classification networks that `torchvision.models.get_model` takes."""
    return frozenset(_tags())


def pretrained_tags(name: str) -> list[str]:
    """Names of the published weights of a network, such as IMAGENET1K_V1; the first is torchvision's default."""
    return _tags().get(name, [])


@functools.cache
def _tags() -> dict[str, list[str]]:
    specification = importlib.util.find_spec("torchvision")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("torchvision")
    folder = Path(specification.origin).parent / "models"
    source = "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))
    enums = {name: _members(body) for name, body in _ENUM.findall(source)}
    return {name: enums[enum] for name, enum in _BUILDER.findall(source)}


def _members(body: str) -> list[str]:
    names = _MEMBER.findall(body)
    default = _DEFAULT.search(body)
    return sorted(names, key=lambda name: default is None or name != default[1])
