"""Names and pretrained tags of timm's networks, read off its sources, because importing timm takes seconds.

A test compares both with timm's own registry.
"""

import functools
import importlib.util
import re
from pathlib import Path

_REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_TAGGED = re.compile(r"""^\s*['"](\w+)\.([\w.]+)['"]\s*:\s*_?\w*cfg\w*\(""", re.MULTILINE)


@functools.cache
def _sources() -> str:
    specification = importlib.util.find_spec("timm")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("timm")
    folder = Path(specification.origin).parent / "models"
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))


@functools.cache
def model_names() -> frozenset[str]:
    """All names that `timm.create_model` takes."""
    return frozenset(_REGISTERED.findall(_sources()))


def pretrained_tags(name: str) -> list[str]:
    """Tags of the published weights of a network, in timm's order; the first is its default."""
    return [tag for model, tag in _TAGGED.findall(_sources()) if model == name]
