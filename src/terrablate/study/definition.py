"""From the section `study` of a config, or the command line of a grid, to factors and a design."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from terrablate.config.schema import Study
from terrablate.errors import ConfigError
from terrablate.study import designs
from terrablate.study.designs import Design, Factor

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_FACTOR_NAME = re.compile(r"[A-Za-z_][\w.+/-]*")
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


def design_of(study: Study) -> Design:
    """Expand a study's definition.

    Raises:
        ConfigError: names the key of the study, what was given and what is allowed.
    """
    if study.design == "list":
        return _listed(study)
    if study.variants is not None:
        raise ConfigError(f"study.variants: belong to study.design=list; study.design={study.design} takes factors")
    if not study.factors:
        raise ConfigError(
            f"study.factors: study.design={study.design} needs at least one; such as {{aug: [none, flip]}}"
        )
    factors = [factor(name, levels) for name, levels in study.factors.items()]
    _check_factors_are_apart(factors)
    return DESIGNS[study.design](_with_baseline(factors, study.baseline))


DESIGNS = {
    "one_at_a_time": designs.one_at_a_time,
    "leave_one_out": designs.leave_one_out,
    "factorial": designs.factorial,
    "fractional": designs.fractional,
}


def factor(name: str, levels: Sequence[Any] | Mapping[Any, Any]) -> Factor:
    """A factor as a study writes it: values of one key or group, or names with any overrides.

    Raises:
        ConfigError: if it has fewer than two levels, or two of one name.
    """
    if not _FACTOR_NAME.fullmatch(name):
        raise ConfigError(f"study.factors.{name}: not a name of a factor; letters, digits, dots, dashes, underscores")
    if isinstance(levels, Mapping):
        found = [(str(label), _overrides(name, str(label), given)) for label, given in levels.items()]
    else:
        found = [(label_of(value), (override(name, value),)) for value in levels]
    labels = [label for label, _ in found]
    if duplicates := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(f"study.factors.{name}: the level {duplicates[0]} is there twice")
    if len(found) < 2:
        raise ConfigError(f"study.factors.{name}: a factor needs two levels or more")
    for label in labels:
        if not label or not label.isprintable() or "|" in label:
            raise ConfigError(f"study.factors.{name}: {label!r} is no name of a level; printable characters, no bar")
    return Factor(name, dict(found))


def grid(arguments: "Sequence[Override]") -> tuple[list[Factor], list[str], list[int] | None]:
    """What a command line with commas varies.

    Args:
        arguments: parsed overrides.

    Returns:
        Its factors, all other overrides, and the seeds if `seed` was given.

    Raises:
        ConfigError: if a value is there twice, or a seed is no number.
    """
    factors, others, seeds = [], [], None
    for argument in arguments:
        key = argument.get_key_element()
        if not argument.is_sweep_override():
            if key == "seed":
                seeds = _seeds([argument.get_value_element_as_str()])
            else:
                others.append(argument.input_line or "")
            continue
        values = list(argument.sweep_string_iterator())
        if duplicates := sorted({value for value in values if values.count(value) > 1}):
            raise ConfigError(f"{key}: the value {duplicates[0]} is there twice")
        if key == "seed":
            seeds = _seeds(values)
        elif len(values) == 1:
            others.append(f"{key}={values[0]}")
        else:
            factors.append(Factor(key, {value: (f"{key}={value}",) for value in values}))
    return factors, [other for other in others if other], seeds


def grid_design(factors: Sequence[Factor]) -> Design:
    """All combinations, called by all their values; the first value of each is the baseline's."""
    variants = designs.factorial(factors).variants
    names = [", ".join(f"{name}={level}" for name, level in variant.levels.items()) for variant in variants]
    return Design(tuple(replace(v, name=name or "run") for v, name in zip(variants, names, strict=True)))


def override(key: str, value: Any) -> str:
    """`key=value` in the grammar of Hydra."""
    return f"{key}={_written(value)}"


def label_of(value: Any) -> str:
    """A short name of a value, for tables."""
    if isinstance(value, list | tuple):
        return "+".join(map(label_of, value)) or "none"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return str(value)


def seeds_of(study: Study) -> list[int]:
    """The planned seeds.

    Raises:
        ConfigError: if one is there twice.
    """
    seeds = list(range(study.seeds)) if isinstance(study.seeds, int) else study.seeds
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"study.seeds={seeds}: a seed is there twice")
    return seeds


def _listed(study: Study) -> Design:
    if study.factors is not None:
        raise ConfigError("study.factors: study.design=list takes variants instead, each a name with overrides")
    if not study.variants or len(study.variants) < 2:
        raise ConfigError("study.variants: study.design=list needs two or more, each a name with overrides")
    variants = {name: tuple(overrides) for name, overrides in study.variants.items()}
    for name, overrides in variants.items():
        _check_overrides(f"study.variants.{name}", overrides)
    if study.baseline is None:
        return designs.listed(variants)
    if not isinstance(study.baseline, str) or study.baseline not in variants:
        raise ConfigError(f"study.baseline={study.baseline}: expected one of the variants {', '.join(variants)}")
    first = study.baseline
    return designs.listed({first: variants[first]} | variants)


def _with_baseline(factors: Sequence[Factor], baseline: Mapping[str, Any] | str | None) -> list[Factor]:
    """Factors whose first level is the baseline's."""
    if isinstance(baseline, str):
        raise ConfigError(f"study.baseline={baseline}: expected levels by factor, such as {{aug: none}}")
    chosen = {name: label_of(level) for name, level in (baseline or {}).items()}
    names = [factor.name for factor in factors]
    if unknown := sorted(chosen.keys() - names):
        raise ConfigError(f"study.baseline.{unknown[0]}: there is no such factor; factors: {', '.join(names)}")
    found = []
    for each in factors:
        first = chosen.get(each.name, each.baseline)
        if first not in each.levels:
            raise ConfigError(
                f"study.baseline.{each.name}={first}: there is no such level; levels: {', '.join(each.levels)}"
            )
        found.append(Factor(each.name, {first: each.levels[first], **each.levels}))
    return found


def _overrides(name: str, label: str, given: Any) -> tuple[str, ...]:
    """Of a named level: a list of overrides, one override, or a value of the factor's own key."""
    if isinstance(given, list):
        overrides = tuple(map(str, given))
        _check_overrides(f"study.factors.{name}.{label}", overrides)
        return overrides
    if isinstance(given, str) and "=" in given:
        return (given,)
    return (override(name, given),)


def key_of(override: str) -> str:
    """The key or group that an override sets, adds or removes."""
    return override.lstrip("+~").split("=")[0].split("@")[0]


def _check_factors_are_apart(factors: Sequence[Factor]) -> None:
    """A key that two factors set would have the value of the later one, whatever the level of the other."""
    setter: dict[str, str] = {}
    for each in factors:
        for label, overrides in each.levels.items():
            for key in map(key_of, overrides):
                other = setter.setdefault(key, each.name)
                if other != each.name:
                    raise ConfigError(
                        f"study.factors.{each.name}.{label}: the factor {other} sets {key}, too; a key belongs to one"
                        " factor"
                    )


def _check_overrides(where: str, overrides: Sequence[str]) -> None:
    keys = list(map(key_of, overrides))
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigError(f"{where}: {twice} is set twice")
    for each in overrides:
        if "=" not in each and not each.startswith("~"):
            raise ConfigError(f"{where}: {each!r} is not an override; write key=value")
        if key_of(each) == "seed":
            raise ConfigError(f"{where}: seeds are given by study.seeds")


def _seeds(values: Sequence[str]) -> list[int]:
    wrong = [value for value in values if not re.fullmatch(r"\d+", value)]
    if wrong:
        raise ConfigError(f"seed={wrong[0]}: expected a whole number, 0 or more")
    return [int(value) for value in values]


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return quoted(value)
    return str(value)


def quoted(text: str) -> str:
    """A string of any characters in the grammar of Hydra."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"
