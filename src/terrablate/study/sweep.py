"""A study from its command line to its table: plan, check, tune, run what is left."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from terrablate.config.identity import code_identity
from terrablate.config.parse import plain
from terrablate.config.scalars import FORBID_UNKNOWN
from terrablate.config.schema import Study
from terrablate.errors import ConfigError
from terrablate.study.composer import composer
from terrablate.study.definition import design_of, grid, grid_design, key_of, seeds_of
from terrablate.study.designs import Design
from terrablate.study.folder import StudyFolder
from terrablate.study.launch import Trainer
from terrablate.study.plan import checked, planned_runs
from terrablate.study.show import show_answer, show_end, show_plan, show_tuned
from terrablate.study.tuning import check_tuning, tuned, tuning_runs
from terrablate.training.pictures import draw_of

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

    from terrablate.study.answers import Answer


@dataclass(config=FORBID_UNKNOWN)
class _Composed:
    """The part of the config that is typed before there are variants."""

    study: Study


def sweep(
    composed: "DictConfig",
    arguments: Sequence[str],
    loader: "ConfigLoader",
    launcher: "Launcher",
    answered: "Callable[[Answer, Path], object]",
) -> list[float]:
    """Run a study, or a grid.

    Args:
        composed: the config with Hydra's own part.
        arguments: overrides of the command line.
        loader: composes the config of each variant.
        launcher: runs jobs.
        answered: called with what the study answers and its folder, when both are written.

    Raises:
        UserError: if a variant does not compose, or the study's folder cannot be used.
        SystemExit: with the status of the worst run, if not all of them ended well.
    """
    study = _study_of(composed)
    study, design, seeds, common = _asked(study, arguments)
    compose = composer(composed, loader)
    first, digests = checked(design.variants, common, compose)
    if study.tune:
        check_tuning(study, design.variants, seeds, common, compose)
    folder = StudyFolder(Path(first.studies_dir) / str(study.name))
    runs = planned_runs(study, design, seeds, common, digests, {})
    code = None if first.code == "any" else code_identity()
    earlier = folder.still_planned(runs) if study.tune else folder.extended(runs)
    done = {} if first.force else folder.done(earlier, code)
    show_plan(study, design, earlier, done, folder.folder)
    if study.plan_only:
        return []
    trainer = Trainer(launcher, folder, code, force=first.force, retry=study.retry)
    if study.tune:
        grids = {v.name: tuning_runs(study, v, common, digests[v.name]) for v in design.variants}
        folder.settle_tuning([run for settings in grids.values() for _, judges in settings for run in judges])
        chosen = tuned(study, grids, trainer)
        show_tuned(chosen)
        runs = planned_runs(study, design, seeds, common, digests, chosen)
    runs = folder.settle({**_definition(study, design, seeds, common), "command": list(arguments)}, runs)
    outcomes = trainer.train(runs)
    for row in folder.table():
        if row["folder"]:
            draw_of(Path(row["folder"]))  # what a call that was killed had left
    show_end(study, runs, folder.table(), folder.folder)
    answered(_answer(folder.folder), folder.folder)
    if status := max([outcome.status for outcome in outcomes.values()] + [1 for _ in trainer.left_alone], default=0):
        raise SystemExit(status)
    return [float(outcome) for outcome in outcomes.values()]


def _answer(folder: Path) -> "Answer":
    """Write what the study answers so far, and say it in a sentence."""
    from terrablate.study.answers import answer, write_answer
    from terrablate.study.evidence import read_study

    found = answer(read_study(folder))
    write_answer(found, folder)
    show_answer(found.sentences[0], len(found.warnings), folder)
    return found


def _study_of(composed: "DictConfig") -> Study:
    """The section as typed; the rest of the config is checked with each variant.

    Raises:
        ConfigError: for wrong keys and values; or if the study's file lacks the keys that all studies have.
    """
    from omegaconf import OmegaConf
    from pydantic import TypeAdapter, ValidationError

    from terrablate.config import messages

    values = {"study": OmegaConf.to_container(composed.study, resolve=True)}
    if "member" not in composed.study:
        raise ConfigError("study: the study's file has to begin with defaults: [_common, _self_]")
    try:
        return TypeAdapter(_Composed).validate_python(values).study
    except ValidationError as error:
        raise ConfigError(messages.of_validation(error, values, root=_Composed)) from error


def _asked(study: Study, arguments: Sequence[str]) -> tuple[Study, Design, list[int], list[str]]:
    """What the command line asks for: the study with its name, its design, its seeds, overrides of all runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(arguments))
    of_study = [(each.get_key_element() or "").lstrip("+~").split(".")[0] == "study" for each in parsed]
    for each in itertools.compress(parsed, of_study):
        if each.is_sweep_override():
            key, _, values = (each.input_line or "").partition("=")
            raise ConfigError(f"{key}={values}: a study has one value of this; a list is written as '{key}=[{values}]'")
    own = [each for each, is_of_study in zip(parsed, of_study, strict=True) if not is_of_study]
    factors, others, seeds = grid([each for each in own if not _is_hydras(each)])
    if not study.is_defined:
        design = grid_design(factors)
        name = study.name or _name_of_grid(factors, others)
        if seeds is None and any(argument.startswith("study.seeds=") for argument in arguments):
            seeds = seeds_of(study)
        return replace(study, name=name), design, seeds if seeds is not None else [0], [*study.base, *others]
    if factors:
        raise ConfigError(
            f"{factors[0].name}={','.join(factors[0].levels)}: a study varies what its factors say; write"
            f" '+study.factors={{{factors[0].name}:[{','.join(factors[0].levels)}]}}', or give one value"
        )
    if seeds is not None:
        raise ConfigError(f"seed={','.join(map(str, seeds))}: the seeds of a study are given by study.seeds")
    if study.name is None:
        raise ConfigError("study.name: a study needs a name; its folder is called by it")
    design = design_of(study)
    varied = {key_of(item) for variant in design.variants for item in variant.overrides}
    if clash := next((item for item in others if key_of(item) in varied), None):
        raise ConfigError(f"{clash}: the study varies {key_of(clash)}; leave it to its factors")
    if clash := next((key for key in study.tune or {} if key in varied | set(map(key_of, others))), None):
        where = "the study varies it" if clash in varied else "the command line sets it"
        raise ConfigError(f"study.tune.{clash}: {where}, so that it cannot be tuned")
    return study, design, seeds_of(study), [*study.base, *others]


def _is_hydras(argument: Any) -> bool:
    return str(argument.get_key_element()).split("/")[0].split(".")[0] == "hydra"


def _name_of_grid(factors: Sequence[Any], others: Sequence[str]) -> str:
    import hashlib

    text = "\n".join([*(factor.name for factor in factors), *sorted(others)])
    names = "_".join(factor.name.replace("/", ".") for factor in factors) or "runs"
    return f"grid-{names}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _definition(study: Study, design: Design, seeds: Sequence[int], common: Sequence[str]) -> dict[str, Any]:
    content = plain(study)
    for key in ("member", "plan_only", "retry", "run_timeout", "base"):
        content.pop(key)
    return {
        **content,
        "seeds": list(seeds),
        "overrides": list(common),
        "aliases": [list(chain) for chain in design.aliases],
        "resolution": design.resolution,
    }
