"""The one place that turns config errors of Hydra, OmegaConf and pydantic into sentences: key, given, allowed."""

import difflib
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from terrablate.config import choices

if TYPE_CHECKING:
    from omegaconf.errors import OmegaConfBaseException
    from pydantic import ValidationError

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list such as [a, b]",
    "dict_type": "keys with values",
    "finite_number": "a finite number",
    "too_short": "a list of {min_length} or more entries",
    "too_long": "a list of at most {max_length} entries",
    "greater_than": "a value greater than {gt}",
    "greater_than_equal": "a value of at least {ge}",
    "less_than": "a value less than {lt}",
    "less_than_equal": "a value of at most {le}",
    "literal_error": "one of {expected}",
    "int_from_float": "a whole number",
}


def of_validation(error: "ValidationError") -> str:
    """One line for each wrong value of the typed config."""
    lines: dict[str, list[str]] = {}
    given: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        key = _dotted(item["loc"])
        if item["type"] == "unexpected_keyword_argument":
            lines.setdefault(key, []).append("unknown")
        elif item["type"] in ("missing", "missing_argument", "union_tag_not_found"):
            lines.setdefault(key, []).append("missing")
        else:
            template = _EXPECTED.get(item["type"])
            expected = template.format(**item.get("ctx", {})) if template else item["msg"][0].lower() + item["msg"][1:]
            lines.setdefault(key, []).append(expected)
        given[key] = item["input"]
    return "\n".join(_sentence(key, given[key], expected) for key, expected in lines.items())


def _sentence(key: str, given: Any, expected: list[str]) -> str:
    if "unknown" in expected:
        return f"{key}: there is no such key{_allowed_keys(key)}"
    if "missing" in expected:
        return f"{key}: a value is missing"
    return f"{key}={_shown(given)}: expected {' or '.join(dict.fromkeys(expected))}"


def _dotted(location: Iterable[str | int]) -> str:
    """The key as a person writes it: without the tag that pydantic puts after the group of a discriminated union."""
    parts = [str(part) for part in location]
    if len(parts) > 1 and not _is_key(parts[0], parts[1]):
        del parts[1]
    parts = [part for part in parts if not re.fullmatch(r"constrained-\w+|\w+\[.*\]|flip|color|str|int", part)]
    return ".".join(parts) or "config"


def _is_key(group: str, key: str) -> bool:
    """Whether a group's schema has the key; a tag such as `synthetic` is none."""
    from dataclasses import fields, is_dataclass
    from typing import get_args

    from terrablate.config.schema import Config

    annotation = Config.__annotations__.get(group)
    members = [annotation] if is_dataclass(annotation) else list(get_args(get_args(annotation)[0]))
    tags = {"source", "builder", "optimizer", "schedule", "rule"}
    names = {field.name for member in members if is_dataclass(member) for field in fields(member)}
    return not members or (key in names and not (key in tags and group == key))


def of_omegaconf(error: "OmegaConfBaseException") -> str:
    """A missing mandatory value, or an interpolation that leads nowhere."""
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None) or "config"
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: a value is needed; give it as {key}=..."
    return f"{key}: {str(error).splitlines()[0]}"


def of_hydra(error: Exception) -> str | None:
    """A mistake in the overrides, as Hydra raises it; None if the exception is of another kind."""
    from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    text = str(error)
    if match := re.search(r"Could not find '([\w.-]+)/([^']*)'", text):
        group, name = match.groups()
        group = group.removeprefix("train/")
        allowed = [choice.name for choice in choices.choices(group)] if group in choices.groups() else []
        return f"{group}={name}: there is no such choice{_near(name, allowed)}; allowed: {', '.join(allowed)}"
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        return f"{key}: there is no such key{_allowed_keys(key)}"
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match.group(1)}: the key exists already; write {match.group(1)}=... without the plus sign"
    if isinstance(error, OverrideParseException):
        reason = " ".join(text.splitlines()[1:2])
        return f"{error.override}: not an override; write key=value or group=choice, lists as 'key=[a,b]' ({reason})"
    if isinstance(error, ConfigCompositionException | HydraException | OmegaConfBaseException):
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        return " ".join(str(cause).split())
    return None


def _allowed_keys(key: str) -> str:
    """`; did you mean ...? keys of optim: ...` for a key that does not exist."""
    parent, _, last = key.rpartition(".")
    allowed = _known_keys(parent)
    where = f"keys of {parent}" if parent else "allowed"
    return f"{_near(last, allowed)}; {where}: {', '.join(allowed)}" if allowed else ""


def _known_keys(parent: str) -> list[str]:
    """Keys below a dotted key: of the primary config, of the choice that the command line asks for, of a setting."""
    import yaml

    primary = yaml.safe_load((choices.CONF / "train.yaml").read_text(encoding="utf-8"))
    settings = {key: value for key, value in primary.items() if key not in ("defaults", "hydra")}
    if not parent:
        return [*choices.groups(), *settings]
    if parent in choices.groups():
        chosen = choices.default_choices().get(parent, "")
        for word in sys.argv[1:]:
            if match := re.fullmatch(rf"\+*{parent}=([\w-]+)", word):
                chosen = match.group(1)
        return choices.keys(parent, chosen)
    return list(settings[parent]) if isinstance(settings.get(parent), dict) else []


def _near(word: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(word, allowed, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
