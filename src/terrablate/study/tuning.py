"""`study.tune`: the best value of a nuisance setting for each variant, on seeds that the comparison never uses."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from terrablate.config.schema import Study
from terrablate.errors import ConfigError, UserError
from terrablate.study.definition import label_of, override
from terrablate.study.designs import Design, Variant
from terrablate.study.launch import Trainer
from terrablate.study.outcome import Outcome
from terrablate.study.plan import Compose, PlannedRun, config_state, planned_runs, together
from terrablate.training.record import FINISHED, Record

type Setting = Mapping[str, Any]
"""One value of each key of `study.tune`."""
type Settings = list[tuple[Setting, list[PlannedRun]]]
"""Of a variant: each setting, and the runs that judge it."""

SEEDS = 1_000_000
"""Seeds from here on choose nuisance settings; no comparison uses them."""
_LOWER_IS_BETTER = ("nll", "ece")


def tuning_runs(study: Study, variant: Variant, common: Sequence[str], digest: str) -> Settings:
    """For each combination of `study.tune` the runs that judge it, on seeds of their own.

    Args:
        study: that says what is tuned.
        variant: for which it is.
        common: overrides of all variants.
        digest: of the variant's config.
    """
    found: Settings = []
    for chosen in settings_of(study):
        name = f"{variant.name} [{_words(chosen)}]"
        design = Design((replace(variant, name=name),))
        seeds = [SEEDS + number for number in range(study.tune_seeds)]
        found.append((chosen, planned_runs(study, design, seeds, common, {name: digest}, {name: chosen})))
    return found


def settings_of(study: Study) -> list[Setting]:
    """All combinations of the values of `study.tune`, in order."""
    grid = study.tune or {}
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def check_tuning(
    study: Study, variants: Sequence[Variant], seeds: Sequence[int], common: Sequence[str], compose: Compose
) -> None:
    """Compose every variant with every setting.

    Raises:
        ConfigError: names the variants and settings that do not compose and why; or two settings of a variant that are
            the same config; or a seed of the comparison that belongs to tuning.
    """
    if taken := [seed for seed in seeds if seed >= SEEDS]:
        raise ConfigError(f"study.seeds={taken[0]}: seeds from {SEEDS} on are those of study.tune")
    mistakes: list[tuple[str, str]] = []
    for variant in variants:
        by_state: dict[str, Setting] = {}
        for chosen in settings_of(study):
            overrides = [override(key, value) for key, value in chosen.items()]
            try:
                state = config_state(compose([*common, *overrides, *variant.overrides, "seed=0"]))
            except ConfigError as error:
                mistakes += [(variant.name, f"study.tune: {_words(chosen)}: {line}") for line in str(error).split("\n")]
                continue
            if state in by_state:
                mistakes.append(
                    (
                        variant.name,
                        f"study.tune: {_words(by_state[state])} and {_words(chosen)} give the same config, so that"
                        " nothing would be tuned; the variant sets the key itself, or a value is there twice",
                    )
                )
            by_state[state] = chosen
    if mistakes:
        raise ConfigError(together(mistakes, len(variants)))


def tuned(study: Study, grids: Mapping[str, Settings], trainer: Trainer) -> dict[str, Setting]:
    """For each variant the setting that is best by the primary metric, the first of those that are equal.

    Args:
        study: that says what is tuned.
        grids: the settings of each variant and their runs.
        trainer: of the runs that are not done.

    Raises:
        UserError: if no setting of a variant could be judged; or a run failed that a later start would try again, since
            its success could then change what was chosen.
    """
    outcomes = trainer.outcomes([run for settings in grids.values() for _, runs in settings for run in runs])
    failed = [key for key, outcome in outcomes.items() if outcome.kind not in FINISHED]
    if failed and study.retry:
        raise UserError(
            f"study.tune: {len(failed)} of {len(outcomes)} runs failed, the first being {failed[0][0]!r} with seed"
            f" {failed[0][1]} ({outcomes[failed[0]].reason}); the same command tries them again, study.retry=false goes"
            " on without them"
        )
    sign = -1 if study.metric in _LOWER_IS_BETTER else 1
    chosen = {}
    for variant, settings in grids.items():
        rated = []
        for number, (setting, runs) in enumerate(settings):
            scores = [score(outcomes[run.key], study) for run in runs if run.key in outcomes]
            known = [each for each in scores if each is not None]
            if len(known) == len(runs):
                rated.append((sign * mean(known), -number, setting))
        if not rated:
            raise UserError(f"study.tune: no setting of {variant!r} could be judged; see tuning.csv and the runs' logs")
        _, _, chosen[variant] = max(rated, key=lambda item: item[:2])
    return chosen


def score(outcome: Outcome, study: Study) -> float | None:
    """The primary metric of a run, at the epoch that the study declares; None where there is none."""
    result = Record(Path(outcome.folder)).result() if outcome.folder else None
    if result is None or outcome.kind != "complete":
        return None
    scores = result["deployed" if study.deployed == "auto" else study.deployed] or {}
    return scores.get(f"{study.metric}/val")


def _words(setting: Setting) -> str:
    return ", ".join(f"{key}={label_of(value)}" for key, value in setting.items())
