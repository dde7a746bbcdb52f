"""A study from its command line to its table: plan, check, tune, run what is left."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from terrablate.config.identity import code_identity
from terrablate.config.parse import parse, plain
from terrablate.config.schema import Config, Study
from terrablate.errors import ConfigError, UserError
from terrablate.study.definition import design_of, grid, grid_design, label_of, seeds_of
from terrablate.study.designs import Design
from terrablate.study.folder import StudyFolder
from terrablate.study.outcome import Outcome
from terrablate.study.plan import Compose, PlannedRun, checked_digests, planned_runs, tuning_runs
from terrablate.study.show import show_end, show_plan

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

type Launch = Callable[[Sequence[PlannedRun]], list[Outcome]]
_LOWER_IS_BETTER = ("nll", "ece")


def sweep(
    composed: "DictConfig", arguments: Sequence[str], loader: "ConfigLoader", launcher: "Launcher"
) -> list[float]:
    """Run a study, or a grid.

    Args:
        composed: the config with Hydra's own part.
        arguments: overrides of the command line.
        loader: composes the config of each variant.
        launcher: runs jobs.

    Raises:
        UserError: if a variant does not compose, or the study's folder cannot be used.
        SystemExit: with the status of the worst run, if not all of them ended well.
    """
    study = _study_of(composed)
    study, design, seeds, common = _asked(study, arguments)
    compose = _composer(composed, loader)
    digests = checked_digests(design.variants, common, compose)
    first = compose([*common, "seed=0"])
    folder = StudyFolder(Path(first.studies_dir) / str(study.name))
    runs = planned_runs(study, design, seeds, common, digests, {})
    code = None if first.code == "any" else code_identity()
    done = {} if first.force else folder.done(runs, code)
    show_plan(study, design, runs if study.tune else folder.extended(runs), done, folder.folder)
    if study.plan_only:
        return []

    def launch(jobs: Sequence[PlannedRun]) -> list[Outcome]:
        return _launched(launcher, folder, jobs)

    if study.tune:
        tuned = _tuned(study, design, common, digests, launch)
        runs = planned_runs(study, design, seeds, common, digests, tuned)
    runs = folder.settle(_definition(study, design, seeds, common), runs)
    done = {} if first.force else folder.done(runs, code)
    left_alone = set() if study.retry else folder.failed(runs)
    left = [run for run in runs if run.key not in done and run.key not in left_alone]
    outcomes = launch(left) if left else []
    show_end(study, runs, folder.table(), folder.folder)
    statuses = [outcome.status for outcome in outcomes] + [1 for _ in left_alone]
    if any(statuses):
        raise SystemExit(max(statuses))
    return [float(outcome) for outcome in outcomes]


def _study_of(composed: "DictConfig") -> Study:
    """The section as typed; the rest of the config is checked with each variant."""
    from omegaconf import OmegaConf
    from pydantic import TypeAdapter, ValidationError

    from terrablate.config import messages

    values = {"study": OmegaConf.to_container(composed.study, resolve=True)}
    try:
        return TypeAdapter(Study).validate_python(values["study"])
    except ValidationError as error:
        raise ConfigError(messages.of_validation(error, values["study"], root=Study)) from error


def _asked(study: Study, arguments: Sequence[str]) -> tuple[Study, Design, list[int], list[str]]:
    """What the command line asks for: the study with its name, its design, its seeds, overrides of all runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(arguments))
    own = [each for each in parsed if (each.get_key_element() or "").lstrip("+~").split(".")[0] != "study"]
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
            f" +study.factors.{factors[0].name}=[{','.join(factors[0].levels)}], or give one value"
        )
    if seeds is not None:
        raise ConfigError(f"seed={','.join(map(str, seeds))}: the seeds of a study are given by study.seeds")
    if study.name is None:
        raise ConfigError("study.name: a study needs a name; its folder is called by it")
    design = design_of(study)
    varied = {item.split("=")[0] for variant in design.variants for item in variant.overrides}
    if clash := next((item for item in others if item.split("=")[0] in varied), None):
        raise ConfigError(f"{clash}: the study varies {clash.split('=')[0]}; leave it to its factors")
    return study, design, seeds_of(study), [*study.base, *others]


def _is_hydras(argument: Any) -> bool:
    return str(argument.get_key_element()).split("/")[0].split(".")[0] == "hydra"


def _name_of_grid(factors: Sequence[Any], others: Sequence[str]) -> str:
    import hashlib

    text = "\n".join([*(factor.name for factor in factors), *sorted(others)])
    names = "_".join(factor.name.replace("/", ".") for factor in factors) or "runs"
    return f"grid-{names}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _composer(composed: "DictConfig", loader: "ConfigLoader") -> Compose:
    from omegaconf import open_dict

    from terrablate.config.messages import of_hydra

    def compose(overrides: Sequence[str]) -> Config:
        try:
            config = loader.load_sweep_config(composed, list(overrides))
        except Exception as error:
            sentence = of_hydra(error)
            if sentence is None:
                raise
            raise ConfigError(sentence) from error
        with open_dict(config):
            del config["hydra"]
        return parse(config)

    return compose


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


def _launched(launcher: "Launcher", folder: StudyFolder, jobs: Sequence[PlannedRun]) -> list[Outcome]:
    """Outcomes of jobs, each in the table as soon as it is known."""

    def note(index: int, outcome: Outcome) -> None:
        folder.add(*jobs[index].key, outcome)

    takes_notes = hasattr(launcher, "on_outcome")
    if takes_notes:
        setattr(launcher, "on_outcome", note)  # noqa: B010 - of our own launcher alone
    returned = launcher.launch([list(job.overrides) for job in jobs], initial_job_idx=0)
    outcomes = []
    for index, job_return in enumerate(returned):
        outcome = job_return.return_value
        if not isinstance(outcome, Outcome):
            raise UserError(f"hydra/launcher: gave no outcome for {jobs[index].variant!r}")
        outcomes.append(outcome)
        if not takes_notes:
            note(index, outcome)
    return outcomes


def _tuned(
    study: Study, design: Design, common: Sequence[str], digests: Mapping[str, str], launch: Launch
) -> dict[str, dict[str, Any]]:
    """For each variant what `study.tune` found best by the primary metric, on seeds of its own.

    Raises:
        UserError: if no setting of a variant could be judged.
    """
    grids = {variant.name: tuning_runs(study, variant, common, digests[variant.name]) for variant in design.variants}
    jobs = [run for settings in grids.values() for _, runs in settings for run in runs]
    outcomes = dict(zip([job.key for job in jobs], launch(jobs), strict=True))
    sign = -1 if study.metric in _LOWER_IS_BETTER else 1
    chosen = {}
    for variant, settings in grids.items():
        rated = [
            (sign * mean(scores), number, setting)
            for number, (setting, runs) in enumerate(settings)
            if len(scores := [s for run in runs if (s := score(outcomes[run.key], study)) is not None]) == len(runs)
        ]
        if not rated:
            raise UserError(f"study.tune: no setting of {variant!r} could be judged; see the runs' logs")
        _, _, chosen[variant] = max(rated, key=lambda item: (item[0], -item[1]))
        words = ", ".join(f"{key}={label_of(value)}" for key, value in chosen[variant].items())
        logger.info("tuned %s: %s", variant, words)
    return chosen


def score(outcome: Outcome, study: Study) -> float | None:
    """The primary metric of a run, at the epoch that the study declares; None where there is none."""
    from terrablate.training.record import Record

    result = Record(Path(outcome.folder)).result() if outcome.folder else None
    if result is None or outcome.kind != "complete":
        return None
    scores = result["deployed" if study.deployed == "auto" else study.deployed] or {}
    return scores.get(f"{study.metric}/val")


__all__ = ["score", "sweep"]
