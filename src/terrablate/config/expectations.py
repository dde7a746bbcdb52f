"""What the schema expects at a key, in words: for the sentences that refuse a value."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from terrablate.config.schema import Config

_BASIC = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}


@dataclass(frozen=True)
class Place:
    """Where in the config something stands."""

    keys: tuple[str | int, ...]
    annotation: Any
    """Of the schema; None for a key that it does not have."""

    @property
    def dotted(self) -> str:
        """The key as a person writes it."""
        return ".".join(map(str, self.keys)) or "config"

    @property
    def expected(self) -> str:
        """What may stand here, such as `a number greater than 0`."""
        return _describe(self.annotation)


def place(location: Sequence[str | int], root: Any = Config) -> Place:
    """Follow a location as pydantic gives it, with a tag after each group of several kinds, down the schema.

    Stops at a value that may be of several types, since each of them is allowed there.
    """
    annotation = root
    keys: list[str | int] = []
    for part in location:
        kind, _ = _stripped(annotation)
        if is_dataclass(kind):
            annotation = get_type_hints(kind, include_extras=True).get(str(part))
        elif discriminator(annotation):
            annotation = _tagged(annotation)[str(part)]
            continue  # a tag is no key
        elif get_origin(kind) is list and isinstance(part, int):
            annotation = get_args(kind)[0]
        else:
            break
        keys.append(part)
    return Place(tuple(keys), annotation)


def discriminator(annotation: Any) -> str | None:
    """The key that tells which kind of section stands here, such as `source`; None where there is one kind only."""
    return next((found for item in _stripped(annotation)[1] if (found := getattr(item, "discriminator", None))), None)


def tags(annotation: Any) -> list[str]:
    """Allowed values of the discriminator."""
    return list(_tagged(annotation))


def known_keys(location: Sequence[str | int], root: Any = Config) -> list[str]:
    """Keys of the section at a location; empty where any key may stand, or none."""
    kind, _ = _stripped(place(location, root).annotation)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def free_dict(dotted: str) -> str | None:
    """The key at or above a dotted one that holds a free dict, in any kind of its group."""
    group, _, rest = dotted.partition(".")
    key = rest.partition(".")[0]
    section = get_type_hints(Config, include_extras=True).get(group)
    kinds = _tagged(section).values() if discriminator(section) else [section]
    hints = [get_type_hints(kind, include_extras=True) for kind in kinds if is_dataclass(kind)]
    return f"{group}.{key}" if any(_is_free_dict(hint.get(key)) for hint in hints) else None


def _is_free_dict(annotation: Any) -> bool:
    kind, _ = _stripped(annotation)
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return any(get_origin(_stripped(member)[0]) is dict for member in members)


def _tagged(annotation: Any) -> dict[str, Any]:
    key = discriminator(annotation)
    assert key is not None
    members = get_args(_stripped(annotation)[0])
    return {tag: member for member in members for tag in get_args(get_type_hints(member)[key])}


def _stripped(annotation: Any) -> tuple[Any, list[Any]]:
    """The type without `Annotated` and without the null of a section, and what it was annotated with."""
    if get_origin(annotation) is not Annotated:
        return _section(annotation) or annotation, []
    kind, *extras = get_args(annotation)
    return kind, [inner for extra in extras for inner in (extra, *getattr(extra, "metadata", []))]


def _section(annotation: Any) -> Any:
    """The dataclass of `Dataclass | None`; None for any other type."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    kinds = [member for member in members if member is not NoneType]
    return kinds[0] if len(kinds) == 1 and is_dataclass(kinds[0]) else None


def _describe(annotation: Any) -> str:
    kind, extras = _stripped(annotation)
    if described := next((found for extra in extras if (found := getattr(extra, "description", None))), None):
        return str(described)
    limits = {
        name: value
        for extra in extras
        for name in ("gt", "ge", "lt", "le", "min_length", "max_length", "allow_inf_nan")
        if (value := getattr(extra, name, None)) is not None
    }
    origin = get_origin(kind)
    if origin is Literal:
        values = [str(value) for value in get_args(kind)]
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    if origin in (Union, UnionType) and not discriminator(annotation):
        return " or ".join(_describe(member) for member in get_args(kind))
    if origin is list:
        return _list(get_args(kind)[0], limits)
    if kind in _BASIC:
        finite = "finite " if limits == {"allow_inf_nan": False} else ""
        return _BASIC[kind].replace("a number", f"a {finite}number") + _range(limits)
    if key := discriminator(annotation):
        return f"keys with values, {key} being one of {', '.join(tags(annotation))}"
    return "keys with values"


def _list(item: Any, limits: dict[str, Any]) -> str:
    kind, _ = _stripped(item)
    if "min_length" in limits:
        fixed = limits.get("max_length") == limits["min_length"]
        return f"a list of {'' if fixed else 'at least '}{limits['min_length']}, each {_describe(item)}"
    return "a list such as [{key: value}]" if is_dataclass(kind) or discriminator(item) else "a list such as [a, b]"


def _range(limits: dict[str, Any]) -> str:
    match limits:
        case {"ge": low, "le": high}:
            return f" from {low} to {high}"
        case {"ge": low, "lt": high}:
            return f" from {low} to less than {high}"
        case {"gt": low, "lt": high}:
            return f" greater than {low} and less than {high}"
        case {"gt": low}:
            return f" greater than {low}"
        case {"ge": low}:
            return f" of at least {low}"
    return ""
