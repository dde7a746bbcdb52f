"""What a study answers: effects with intervals, sentences, warnings; and its files beside `runs.csv`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from terrablate.errors import UserError
from terrablate.study import sentences as say
from terrablate.study import side_sentences as beside
from terrablate.study.cautions import cautions, coverage
from terrablate.study.effects import Effect, read_effects, write_effects
from terrablate.study.estimates import Group, contrast_rows, families, variant_rows
from terrablate.study.evidence import Evidence
from terrablate.study.held_out import openings, with_test
from terrablate.study.image_noise import image_noise, with_image_noise
from terrablate.study.measures import added_seeds, all_seeds, explored, primary
from terrablate.study.onset import onsets
from terrablate.study.responses import responses
from terrablate.study.run_table import write_text

__all__ = ["Answer", "Effect", "answer", "read_effects", "write_answer", "write_effects"]


@dataclass(frozen=True)
class Answer:
    """An answer to a study's question.

    Args:
        evidence: that it rests on.
        effects: every estimate; those of the primary metric first.
        sentences: generated; the first is the answer.
        warnings: what a reader has to know before believing it.
        coverage: sentences that say what the intervals cover.
    """

    evidence: Evidence
    effects: tuple[Effect, ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    coverage: tuple[str, ...] = ()


def answer(evidence: Evidence) -> Answer:
    """Estimate, judge and say; also while runs are missing.

    The primary family is of one metric, of the declared weights, over the planned seeds: each variant against the
    baseline, or of a factorial or fractional design each factor's level against its baseline level. Its intervals hold
    together with 95 %. Everything else is marked exploratory and has pointwise intervals. Runs that failed, diverged or
    are missing are in no mean, and are named.

    Args:
        evidence: of a study, or of runs without one.
    """
    measure, seeds = primary(evidence), evidence.planned_seeds
    problems: list[str] = []
    template = Effect(
        kind="variant",
        name="",
        metric=measure.metric,
        role="primary",
        which=measure.which,
        higher_is_better=measure.higher_is_better,
    )
    aside = dataclasses.replace(template, role="exploratory")
    groups = families(evidence)
    means = variant_rows(evidence, measure, seeds, template)
    judged, family = contrast_rows(evidence, measure, seeds, groups[0], template, judged=True)
    others = [contrast_rows(evidence, measure, seeds, group, aside, judged=False)[0] for group in groups[1:]]
    noise = image_noise(evidence, measure, all_seeds(evidence), problems)
    of_planned = dataclasses.replace(noise, draws={key: value for key, value in noise.draws.items() if key[1] in seeds})
    rows = with_image_noise([*means, *judged, *(row for group in others for row in group)], of_planned, evidence)
    rows = with_test(rows, groups, evidence, seeds)
    curves = responses(evidence, measure, seeds, aside)
    watched = onsets(evidence, seeds)
    later = _with_added(evidence, aside)
    explorations = _explored(evidence, groups)
    effects = [*rows, *(row for curve in curves for row in curve.rows), *watched.effects, *explorations, *later]
    opened = openings(evidence.folder, problems)
    main = [row for row in rows if row.role == "primary" and row.kind != "variant"]
    found = [
        *_answered(evidence, means, main, beside.delays(watched)),
        *beside.about_interactions([row for row in rows if row.kind in ("interaction", "alias_chain")]),
        *beside.about_responses(curves, evidence),
        *beside.about_onset(watched, evidence),
        *beside.about_added([row for row in later if row.kind == groups[0].kind], evidence, len(added_seeds(evidence))),
        *beside.about_test(main, evidence, opened),
    ]
    warnings = cautions(dataclasses.replace(evidence, problems=(*evidence.problems, *problems)), family)
    covered = coverage(evidence, noise.note, is_of_images=bool(noise.draws))
    return Answer(evidence, tuple(effects), tuple(found), tuple(warnings), tuple(covered))


def write_answer(answer: Answer, folder: Path) -> None:
    """Write `effects.csv`, `summary.md` and `effects.tex`.

    Args:
        answer: to write.
        folder: of the study; made if it is not there.

    Raises:
        UserError: if the folder cannot be written.
    """
    from terrablate.study.summary import effects_tex, summary_md

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".answer.lock"):  # the same study may end in two processes at once
            write_effects(answer.effects, folder / "effects.csv")
            write_text(folder / "summary.md", summary_md(answer))
            write_text(folder / "effects.tex", effects_tex(answer))
    except OSError as error:
        raise UserError(f"{folder}: the answer cannot be written: {error.strerror or error}") from error


def _answered(evidence: Evidence, means: list[Effect], main: list[Effect], delays: Mapping[str, str]) -> list[str]:
    if len(evidence.variants) == 1:
        return [say.one_variant(evidence, means)]
    return [say.lead(main, evidence, delays), *say.each_effect(main, evidence), *say.about_equivalence(main, evidence)]


def _with_added(evidence: Evidence, template: Effect) -> list[Effect]:
    """The primary metric once more, with all seeds, where some were added."""
    if not added_seeds(evidence):
        return []
    seeds, measure = all_seeds(evidence), primary(evidence)
    marked = dataclasses.replace(template, seeds="all")
    return [
        *variant_rows(evidence, measure, seeds, marked),
        *contrast_rows(evidence, measure, seeds, families(evidence)[0], marked, judged=True)[0],
    ]


def _explored(evidence: Evidence, groups: list[Group]) -> list[Effect]:
    """Means and pointwise intervals of all other metrics."""
    rows: list[Effect] = []
    for measure in explored(evidence):
        template = Effect(
            kind="variant",
            name="",
            metric=measure.metric,
            which=measure.which,
            higher_is_better=measure.higher_is_better,
        )
        rows += variant_rows(evidence, measure, evidence.planned_seeds, template)
        rows += contrast_rows(evidence, measure, evidence.planned_seeds, groups[0], template, judged=False)[0]
    return rows
