"""The plan of a study: every variant composed and checked before the first run starts, and each run's place in it."""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from terrablate.config.identity import config_digest
from terrablate.config.schema import Config, Study
from terrablate.errors import ConfigError
from terrablate.study.definition import override, quoted
from terrablate.study.designs import Design, Variant

type Compose = Callable[[Sequence[str]], Config]
"""Overrides to a checked config. Raises `ConfigError`."""

_NAMED = 3
"""Variants that are named for one mistake; of more their number is told."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Args:
        variant: its name.
        levels: of each factor.
        seed: of its random streams.
        overrides: that compose it, complete.
        digest: of its config: two planned runs of one digest are one run.
        tuned: what was chosen for its variant.
        added: to a plan that had been made before.
    """

    variant: str
    levels: Mapping[str, str]
    seed: int
    overrides: tuple[str, ...]
    digest: str
    tuned: Mapping[str, Any]
    added: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """What it is called by within its study."""
        return self.variant, self.seed


def checked(variants: Sequence[Variant], common: Sequence[str], compose: Compose) -> tuple[Config, dict[str, str]]:
    """Compose every variant with seed 0: the config of the first, and the digest of each.

    Args:
        variants: of a design.
        common: overrides of all of them.
        compose: of one.

    Raises:
        ConfigError: names every variant that does not compose and why; or two that are the same config.
    """
    mistakes: list[tuple[str, str]] = []
    found: dict[str, str] = {}
    configs: list[Config] = []
    for variant in variants:
        try:
            config = compose([*common, *variant.overrides, "seed=0"])
        except ConfigError as error:
            mistakes += [(variant.name, line) for line in str(error).splitlines()]
            continue
        configs.append(config)
        found[variant.name] = config_state(config)
    if mistakes:
        raise ConfigError(together(mistakes, len(variants)))
    by_digest: dict[str, str] = {}
    for name, digest in found.items():
        if digest in by_digest:
            raise ConfigError(
                f"variant {name!r}: is the same config as {by_digest[digest]!r}, so that nothing would be compared;"
                " a level changes nothing, or is overridden"
            )
        by_digest[digest] = name
    return configs[0], found


def together(mistakes: Sequence[tuple[str, str]], total: int) -> str:
    """A line for each mistake, with the variants that make it.

    Args:
        mistakes: name of a variant, and a sentence.
        total: how many variants there are.
    """
    names: dict[str, list[str]] = {}
    for name, sentence in mistakes:
        if name not in names.setdefault(sentence, []):
            names[sentence].append(name)
    lines = []
    for sentence, who in names.items():
        few = [repr(name) for name in who[:_NAMED]] + ([f"{len(who) - _NAMED} more"] if len(who) > _NAMED else [])
        several = "every variant" if len(who) == total else f"variants {', '.join(few)}"
        lines.append(f"{f'variant {few[0]}' if len(who) == 1 else several}: {sentence}")
    return "\n".join(lines)


def planned_runs(
    study: Study,
    design: Design,
    seeds: Sequence[int],
    common: Sequence[str],
    digests: Mapping[str, str],
    tuned: Mapping[str, Mapping[str, Any]],
) -> list[PlannedRun]:
    """All runs, seed by seed, so that a study that is cut off has compared something."""
    runs = []
    for seed, variant in itertools.product(seeds, design.variants):
        chosen = tuned.get(variant.name, {})
        settings = [override(key, value) for key, value in chosen.items()]
        overrides = [*common, *settings, *variant.overrides, f"seed={seed}", *_membership(study, variant)]
        text = json.dumps([digests[variant.name], chosen, seed], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        runs.append(PlannedRun(variant.name, variant.levels, seed, tuple(overrides), digest, chosen))
    return runs


def _membership(study: Study, variant: Variant) -> list[str]:
    """What a run is told of the study that it belongs to."""
    levels = ",".join(f"{name}:{quoted(level)}" for name, level in variant.levels.items())
    return [
        f"study.name={quoted(study.name or '')}",
        f"study.keep={study.keep}",
        f"study.member.variant={quoted(variant.name)}",
        *([f"study.member.levels={{{levels}}}"] if levels else []),
    ]


def config_state(config: Config) -> str:
    """The digest of a config and of the files that it reads: the data's, and those of weights."""
    from terrablate.data.open_source import stamp

    files = [getattr(config.weights, key, None) for key in ("path", "file", "run")]
    states = [_state(Path(path)) for path in files if path]
    text = json.dumps([config_digest(config), _stamped(config, stamp), _labels(config), states])
    return hashlib.sha256(text.encode()).hexdigest()


_STAMPS: dict[str, str | None] = {}


def _stamped(config: Config, stamp: Callable[[Any], str | None]) -> str | None:
    """Walking a large data set takes a while, and variants mostly share theirs."""
    lists = [getattr(config.data, key, None) for key in ("train_list", "val_list", "group_csv")]
    key = json.dumps([config.data.root, config.data.subfolder, config.data.name, *lists])
    if key not in _STAMPS:
        _STAMPS[key] = stamp(config.data)
    return _STAMPS[key]


def _labels(config: Config) -> list[Any]:
    """Which labels are given on purpose, and which images are whose: the fingerprint of a run's data states them."""
    noise = config.data.label_noise
    wrong = [_state(Path(noise))] if isinstance(noise, str) else [noise] if noise else []
    return wrong + [
        value for key in ("train_list", "val_list", "group_csv") if (value := getattr(config.data, key, None))
    ]


def _state(path: Path) -> list[Any]:
    """Of a weights file its size and time, of a run's folder those of its result."""
    file = path / "result.json" if path.is_dir() else path
    try:
        status = file.stat()
    except OSError:
        return [str(path)]
    return [status.st_size, status.st_mtime_ns]
