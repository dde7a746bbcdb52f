"""The one place that turns config errors of Hydra, OmegaConf and pydantic into sentences: key, given, allowed."""

import difflib
import math
import re
import sys
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

from terrablate.config import choices, expectations
from terrablate.config.schema import Config

_OF_EXTRAS = {
    "launchers": [f"hydra/launcher={name}" for name in ("joblib", "ray", "submitit_local", "submitit_slurm")],
    "tuning": ["hydra/sweeper=optuna"],
}
"""Choices of Hydra's groups, by the extra of this package that brings them."""

if TYPE_CHECKING:
    from omegaconf.errors import OmegaConfBaseException
    from pydantic import ValidationError


def of_validation(error: "ValidationError", values: Any, derived: Container[str] = (), root: Any = Config) -> str:
    """One line for each wrong value of the typed config.

    Args:
        error: what pydantic says.
        values: the config that was validated.
        derived: dotted keys whose value was taken over from another key; the other one's line is enough.
        root: the dataclass that it was validated against: a run's config, or the own keys of a command.
    """
    lines: dict[str, str] = {}
    for item in error.errors(include_url=False):
        where = expectations.place(item["loc"], root)
        if item["type"] in ("unexpected_keyword_argument", "missing", "missing_argument"):
            unknown = item["type"] == "unexpected_keyword_argument"
            key = ".".join(map(str, where.keys))
            lines[key] = _unknown(key, expectations.known_keys(item["loc"][:-1], root)) if unknown else _missing(where)
        elif item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            tag = f"{where.dotted}.{expectations.discriminator(where.annotation)}"
            given = f"={item['ctx']['tag']}" if "tag" in item["ctx"] else " is missing"
            lines[tag] = f"{tag}{given}: expected one of {', '.join(expectations.tags(where.annotation))}"
        else:
            given, expected = _shown(_value(values, where.keys)), where.expected
            if item["type"] == "finite_number":
                expected = expected.replace("a number", "a finite number")
            lines[where.dotted] = f"{where.dotted}={given}: expected {expected}"
    own = [line for key, line in lines.items() if key not in derived]
    return "\n".join(own or lines.values())


def _missing(where: expectations.Place) -> str:
    return f"{where.dotted}: a value is missing; expected {where.expected}"


def _value(values: Any, keys: Iterable[str | int]) -> Any:
    for key in keys:
        values = values[key]
    return values


def of_omegaconf(error: "OmegaConfBaseException") -> str:
    """A missing mandatory value, or an interpolation that leads nowhere."""
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None) or "config"
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: a value is needed; give it as {key}=..."
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0])
    return f"{key}: {reason}"


def of_hydra(error: Exception, primary: str = "train") -> str | None:
    """A mistake in the overrides, as Hydra raises it; None if the exception is of another kind.

    Args:
        error: what was raised.
        primary: name of the primary config that was composed.
    """
    from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    text = str(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if match := re.search(r"Could not (?:find|load) '([\w./-]+)/([^'/]*)'", text):
        return _no_choice(match.group(1).removeprefix("train/"), match.group(2), text)
    if isinstance(error, ValueError) and "Config group override must be" in text:
        return _wrong_choice() or _not_an_override()
    if isinstance(error, TypeError) and "is not iterable" in text:  # Hydra's answer to group=[3]
        return _wrong_choice()
    if match := re.search(r"Could not (?:override '([^']+)'|delete from config. '([^']+)')", text):
        key = match.group(1) or match.group(2)
        inner = re.search(r"full_key: (\S+)", str(error.__cause__))
        if inner and inner.group(1).startswith(f"{key}."):
            key = inner.group(1)  # a key within a dict that was given as the value
        return _unknown(key, _known_keys(key, primary))
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match.group(1)}: the key exists already; write {match.group(1)}=... without the plus sign"
    if match := re.search(r"Multiple values for ([\w/]+)\.", text):
        return f"{match.group(1)}: the group has a choice already; write {match.group(1)}=... without the plus sign"
    if match := re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text):
        key, values = match.groups()
        return (
            f"{key}={values}: one run takes one value; add -m for one run each, or write a list as '{key}=[{values}]'"
        )
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not an override; write key=value or group=choice, lists as 'key=[a,b]'"
    if isinstance(error, ConfigCompositionException | HydraException | OmegaConfBaseException):
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        return " ".join(str(cause).split())
    return None


def _no_choice(group: str, name: str, hydra_says: str = "") -> str:
    for extra, brought in _OF_EXTRAS.items():
        if f"{group}={name}" in brought:
            return f"{group}={name}: is not installed; it comes with the extra {extra!r}: uv sync --extra {extra}"
    own = [choice.name for choice in choices.choices(group)] if group in choices.groups() else []
    allowed = own or re.findall(r"^\t([\w-]+)$", hydra_says, re.MULTILINE)
    several = f"; a list of them, or {choices.NONE_CHOSEN} for none" if choices.takes_several(group) else ""
    return f"{group}={name}: there is no such choice{_near(name, allowed)}; allowed: {', '.join(allowed)}{several}"


def _wrong_choice() -> str | None:
    """For a group that was given a number or null; Hydra does not say which."""
    for word in sys.argv[1:]:
        group, _, given = word.partition("=")
        present = {choice.name for choice in choices.choices(group)} if group in choices.groups() else set()
        unknown = [name for name in _names(given) if present and name not in present]
        if unknown:
            return _no_choice(group, unknown[0])
    return None


def _not_an_override() -> str:
    wrong = next((word for word in sys.argv[1:] if re.match(r"[=@]", word)), "an override")
    return f"{wrong}: not an override; write key=value or group=choice, lists as 'key=[a,b]'"


def _unknown(key: str, allowed: list[str]) -> str:
    """`optim.lrr: there is no such key (did you mean lr?); keys of optim: ...`."""
    parent, _, last = key.rpartition(".")
    if free := expectations.free_dict(parent):
        own = key.removeprefix(f"{free}.")
        written = f"'+{free}={{{own}: ...}}'" if "." in own else f"+{key}=..."
        return f"{key}: a key of your own in {free} needs a plus sign: {written}"
    parts = key.split(".")
    for depth in range(len(parts) - 1) if not allowed else ():  # the first part that does not exist
        known = _known_keys(".".join(parts[: depth + 1]))
        if known and parts[depth] not in known:
            parent, last, allowed = ".".join(parts[:depth]), parts[depth], known
            break
    if choices.takes_several(parts[0]) and len(parts) > 1 and parts[1] not in _chosen()[parts[0]]:
        group, choice = parts[:2]
        if choice in [each.name for each in choices.choices(group)]:
            together = ",".join([*_chosen()[group], choice])
            return f"{key}: {choice} is not chosen; add {group}=[{together}]"
        return _no_choice(group, choice)
    where = f"keys of {parent}" if parent else "allowed"
    listed = f"; {where}: {', '.join(allowed)}" if allowed else f"; {parent} has no keys of its own"
    return f"{key}: there is no such key{_near(last, allowed) or _elsewhere(key)}{listed}"


def _elsewhere(key: str) -> str:
    """For a key without its group: where it would stand."""
    chosen = [(group, name) for group, names in _chosen().items() for name in names]
    found = [f"{_place(group, name)}.{key}" for group, name in chosen if key in choices.keys(group, name)]
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def _chosen() -> dict[str, list[str]]:
    """The choices of each group, as the command line asks for them, else the default; one where only one is taken."""
    chosen = {group: _names(default) for group, default in choices.default_choices().items()}
    for word in sys.argv[1:]:
        group, _, given = word.lstrip("+").partition("=")
        if group in chosen and {*_names(given)} <= {choice.name for choice in choices.choices(group)}:
            chosen[group] = _names(given)
    return chosen


def _names(given: str) -> list[str]:
    """Names in `a` or `[a,b]`, as they stand on the command line."""
    return given[1:-1].replace(" ", "").split(",") if re.fullmatch(r"\[.+\]", given) else [given] * (given != "[]")


def _place(group: str, name: str) -> str:
    """Where the keys of a choice stand."""
    return f"{group}.{name}" if choices.takes_several(group) else group


def _known_keys(key: str, primary: str = "train") -> list[str]:
    """Keys that may stand where a dotted key does: in the primary config, in a choice, in a setting."""
    settings = choices.settings(primary)
    parent = key.rpartition(".")[0]
    if not parent:
        return list(dict.fromkeys([*choices.offered(primary), *settings]))
    for group, names in _chosen().items():
        if parent in (places := {_place(group, name): name for name in names}):
            return choices.keys(group, places[parent])
    return list(settings[parent]) if isinstance(settings.get(parent), dict) else []


def _near(word: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(word, [name for name in allowed if name != word], n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _shown(value: Any) -> str:
    """A value as a person writes it in YAML, shortened."""
    import yaml

    if isinstance(value, float):
        return str(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
    return text if len(text) <= 80 else text[:77] + "..."
