"""Runs that belong to no study, as evidence: each distinct config without its seed is a variant."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terrablate.errors import UserError
from terrablate.study.evidence import Evidence, RunOf, VariantOf, split_cells
from terrablate.study.run_files import RunFiles, flat

_NOT_COMPARED = {
    "seed", "runs_dir", "packs_dir", "studies_dir", "force", "code", "keep_optimizer", "suspects",
    "robustness", "lr_find", "logger", "study", "data.root", "data.subset_seed", "trainer.threads", "debug.name",
}  # fmt: skip
"""Keys, or sections, that say where a run stands and which seed it has."""


def evidence_of(folders: Sequence[Path]) -> Evidence:
    """As `read_runs` says.

    Raises:
        UserError: if none of the folders holds a finished run.
    """
    problems: list[str] = []
    found: list[tuple[Path, dict[str, Any], dict[str, Any]]] = []
    for folder in dict.fromkeys(folders):
        files = RunFiles(folder)
        result = files.result()
        if result is None or not files.result_is_whole():
            problems.append(f"{folder}: has no whole result.json of a finished run, and is left out")
            continue
        found.append((folder, result, files.config(problems)))
    if not found:
        raise UserError(f"{', '.join(map(str, folders)) or 'no folder'}: no finished run is there")
    names = _names([_compared(config) for _, _, config in found])
    runs: list[RunOf] = []
    for name, (folder, result, config) in zip(names, found, strict=True):
        seed = int(result.get("seed") or 0)
        if any(run.variant == name and run.seed == seed for run in runs):
            problems.append(f"{folder}: is the same config and seed as a run before it, and is left out")
            continue
        values, texts = split_cells({key: _cell(value) for key, value in flat(result).items()})
        values |= RunFiles(folder).test(problems)
        if (steps := RunFiles(folder).steps(problems)) is not None:
            values["steps"] = steps
        runs.append(RunOf(name, seed, str(result["status"]), False, "", folder, values, texts, config))
    variants = tuple(VariantOf(name, {"variant": name}) for name in dict.fromkeys(run.variant for run in runs))
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    name = found[0][0].name if len(found) == 1 else f"{len(runs)} runs"
    return Evidence(name, "", "list", "accuracy", "deployed", None, variants, seeds, (), tuple(runs), tuple(problems))


def _compared(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a config that make it a variant, such as `aug.name`, with what stands below them as JSON."""
    found: dict[str, Any] = {}
    for section, content in config.items():
        keys = {f"{section}.{key}": value for key, value in content.items()} if isinstance(content, dict) else {}
        found |= keys or {section: content}
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in found.items()
        if key not in _NOT_COMPARED and key.split(".")[0] not in _NOT_COMPARED
    }


def _names(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """A name of each config by what differs; a group's choice stands for all of its keys.

    A key that one config lacks is not compared: that run is older than the key, or has another choice of its group.
    """
    shared = [key for key in configs[0] if all(key in config for config in configs)]
    differ = [key for key in shared if len({config[key] for config in configs}) > 1]
    chosen = {key.split(".")[0] for key in differ if key.endswith(".name")}
    compared = [key for key in differ if key.endswith(".name") or key.split(".")[0] not in chosen]
    names = []
    for config in configs:
        words = [f"{key.removesuffix('.name')}={config[key]}" for key in compared if config[key] != "null"]
        names.append(", ".join(words) or "baseline")
    return _told_apart(names, [{key: config[key] for key in differ} for config in configs])


def _told_apart(names: Sequence[str], configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Different configs whose groups are called the same get a number."""
    known: dict[str, list[Mapping[str, str]]] = {}
    found = []
    for name, config in zip(names, configs, strict=True):
        same = known.setdefault(name, [])
        if config not in same:
            same.append(config)
        number = same.index(config)
        found.append(name if number == 0 else f"{name} ({number + 1})")
    return found


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
