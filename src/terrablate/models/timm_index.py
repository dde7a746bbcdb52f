"""Names and pretrained tags of timm's networks, read off its sources, because importing timm takes seconds.

A test compares both with timm's own registry.
"""

import functools
import importlib.util
import re
from pathlib import Path

_REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_ENTRY = re.compile(r"""^ +['"](\w+)\.([\w.]+)['"]: ?(.*?)(?=^ +['"]\w+\.[\w.]+['"]:|^\})""", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^\s*#.*\n", re.MULTILINE)
_ADDRESS = re.compile(r"""(?:\burl|hf_hub_id)['"]?\s*[=:]\s*(?!['"]{2})|https?:""")
"""What an entry has whose weights are published: entries without serve timm's training."""


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
    """Tags of the published weights of a network, in timm's order; the first is its default.

    The few networks whose entries timm computes (variants of others, such as quickgelu) have none here.
    """
    return _tags().get(name, [])


@functools.cache
def _tags() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, tag, body in _ENTRY.findall(_sources()):
        if _ADDRESS.search(_COMMENT.sub("", body)):
            found.setdefault(name, []).append(tag)
    return found
