"""What a reader has to know before believing an answer: which runs do not count, and what was not alike."""

from collections import Counter

import numpy as np

from terrablate.study.evidence import Evidence, RunOf
from terrablate.study.measures import added_seeds, complete, primary, table
from terrablate.study.statistics.comparisons import Family
from terrablate.study.statistics.variances import CLEARLY_UNEQUAL
from terrablate.study.wording import runs, seeds, several

STEPS_APART = 0.02
"""Share by which the optimizer steps of two variants may differ."""
_FEW = 3
"""Seeds with which unequal spreads go unseen."""
_MIXED = {
    "provenance.code": "code identities",
    "provenance.commit": "commits",
    "provenance.device": "devices",
    "provenance.packages.torch": "versions of torch",
    "provenance.data_fingerprint": "data fingerprints",
}


def cautions(evidence: Evidence, family: Family | None) -> list[str]:
    """Sentences, the gravest first.

    Args:
        evidence: of a study.
        family: of the primary comparisons; None where there are none.
    """
    return [
        *_not_counted(evidence),
        *_unequal_seeds(evidence),
        *_added(evidence),
        *(_of_family(family) if family else []),
        *_few_seeds(evidence, family),
        *_steps(evidence),
        *_mixed(evidence),
        *evidence.problems,
    ]


def lost(evidence: Evidence) -> list[RunOf]:
    """Runs that are not in any mean: not complete, or without a figure of the primary metric."""
    column = primary(evidence).column
    return [run for run in evidence.runs if run.status != "complete" or column not in run.values]


def why_lost(run: RunOf) -> str:
    """In a word or two."""
    return "no finite figure" if run.status == "complete" else run.status.replace("_", " ")


def diverged(evidence: Evidence, variant: str) -> str:
    """`, 1 of 3 runs diverged`, or nothing."""
    mine = [run for run in evidence.runs if run.variant == variant]
    count = sum(run.status == "diverged" for run in mine)
    return f"{count} of its {runs(len(mine))} diverged and {_is(count)} in no mean" if count else ""


def lost_variants(evidence: Evidence) -> list[str]:
    """Those of which no run counts."""
    gone = {(run.variant, run.seed) for run in lost(evidence)}
    return [
        variant.name
        for variant in evidence.variants
        if all((run.variant, run.seed) in gone for run in evidence.runs if run.variant == variant.name)
    ]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def _not_counted(evidence: Evidence) -> list[str]:
    found = lost(evidence)
    if not found:
        return []
    kinds = Counter(why_lost(run) for run in found)
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    names = several([f"{run.variant} seed {run.seed} ({why_lost(run)})" for run in found], most=24)
    sentences = [f"{len(found)} of {runs(len(evidence.runs))} do not count ({words}): {names}."]
    if any(run.status == "diverged" for run in found):
        sentences.append(
            "Means are of the runs that did not diverge: a variant that diverges now and then is worse than its mean"
            " says."
        )
    return sentences


def _unequal_seeds(evidence: Evidence) -> list[str]:
    values = table(evidence, primary(evidence).column, evidence.planned_seeds)
    counts = np.isfinite(values).sum(1)
    empty = [variant.name for variant, count in zip(evidence.variants, counts, strict=True) if count == 0]
    sentences = []
    if empty and len(empty) < len(counts):
        sentences.append(
            f"No run of {several(empty)} counts, so that nothing is said of {'it' if len(empty) == 1 else 'them'}."
        )
    there = counts[counts > 0]
    if len(there) and there.min() < there.max():
        few = [v.name for v, count in zip(evidence.variants, counts, strict=True) if 0 < count < there.max()]
        sentences.append(
            f"Not all variants have {seeds(int(there.max()))}: {several(few)} {_has(len(few))} fewer; the block model"
            " compares within seeds, and a seed that only one variant has says nothing."
        )
    return sentences


def _added(evidence: Evidence) -> list[str]:
    more = added_seeds(evidence)
    sentences = []
    if more:
        sentences.append(
            f"{seeds(len(more))} ({', '.join(map(str, more))}) {_was(len(more))} added after runs had begun."
            f" The answer is of the {seeds(len(evidence.planned_seeds))} planned first. Adding seeds until an"
            " interval excludes zero misleads: each look is another chance to be fooled, so that with enough looks an"
            " interval of 95 % excludes zero much more often than once in twenty where there is no effect."
        )
    planned = set(evidence.planned_seeds)
    late = [
        variant.name
        for variant in evidence.variants
        if all(run.added for run in evidence.runs if run.variant == variant.name and run.seed in planned)
    ]
    if late and len(late) < len(evidence.variants):
        sentences.append(
            f"{several(late)} {_was(len(late))} added to the plan after runs had begun; the family of"
            " comparisons grew with it."
        )
    return sentences


def _of_family(family: Family) -> list[str]:
    sentences = []
    tied = [each for each in family.estimates if each.tied]
    if tied:
        sentences.append(
            f"{len(tied)} of {len(family.estimates)} comparisons have exactly the same difference in every seed."
            " That no spread was seen does not mean that there is none: there is no interval, and nothing is decided."
        )
    unknown = sum(not np.isfinite(each.estimate) for each in family.estimates)
    if unknown:
        sentences.append(
            f"{unknown} of {len(family.estimates)} comparisons cannot be made: their variants have no seed in common,"
            " directly or through others."
        )
    if family.unequal_p < CLEARLY_UNEQUAL:
        sentences.append(
            f"The spread over seeds seems to differ between variants (p = {family.unequal_p:.3f}), so that differences"
            " are taken seed by seed, each with its own spread and with Bonferroni's adjustment; with few seeds such"
            " intervals are wide."
        )
    return sentences


def _few_seeds(evidence: Evidence, family: Family | None) -> list[str]:
    count = len(evidence.planned_seeds)
    if count == 1 and len(evidence.variants) > 1:
        return ["One seed gives no interval: nothing is known of the spread over seeds."]
    if family is None or count > _FEW or not any(np.isfinite(each.low) for each in family.estimates):
        return []
    if any(each.method == "paired+bonferroni" for each in family.estimates) or len(evidence.variants) < 3:
        return []
    return [
        f"The intervals take the spread over seeds for the same in all variants, and {seeds(count)} can hardly show"
        " that it is not. Were that of the baseline three times as large, intervals of 95 % would hold together in 88 %"
        " of studies of three seeds (experiments/results/coverage); five seeds or more are better."
    ]


def _steps(evidence: Evidence) -> list[str]:
    means = {}
    for variant in evidence.variants:
        found = [
            run.values["steps"]
            for run in complete(evidence)
            if run.variant == variant.name and "steps" in run.values and run.texts.get("ended") != "stopped"
        ]
        if found:
            means[variant.name] = float(np.mean(found))
    if not means or max(means.values()) <= min(means.values()) * (1 + STEPS_APART):
        return []
    words = several([f"{name} {steps:,.0f}" for name, steps in means.items()])
    return [
        f"Variants were not trained for equally many optimizer steps: {words}. A difference may come from the length of"
        " training; steps=N instead of epochs=N compares at equal steps."
    ]


def _mixed(evidence: Evidence) -> list[str]:
    sentences = []
    for column, name in _MIXED.items():
        found = Counter(run.texts[column] for run in complete(evidence) if column in run.texts)
        if len(found) > 1:
            short = [
                f"{value[:12] if len(value) > 30 else value} ({runs(count)})" for value, count in found.most_common()
            ]
            sentences.append(f"Runs are of {len(found)} {name}: {several(short)}.")
    if any(run.texts.get("provenance.dirty") == "true" for run in complete(evidence)):
        sentences.append("Some runs were made with changes that were not committed.")
    if any(run.texts.get("synthetic") == "true" for run in complete(evidence)):
        sentences.append("The data are synthetic: nothing is said of real images.")
    return sentences


def coverage(evidence: Evidence, note: str, *, is_of_images: bool) -> list[str]:
    """What the intervals cover and what they do not.

    Args:
        evidence: of a study.
        note: how val images were drawn anew.
        is_of_images: whether they were.
    """
    sentences = [_drawn(evidence)]
    sentences.append(
        f"The noise of the val set is beside them, as a 95 % bootstrap interval: {note}."
        if is_of_images
        else f"{note[:1].upper()}{note[1:]}."
    )
    return sentences


def _drawn(evidence: Evidence) -> str:
    """What differs between seeds, as the configs of the runs say."""
    found = [(run.seed, run.config["data"]) for run in complete(evidence) if isinstance(run.config.get("data"), dict)]
    not_val = "They do not cover the draw of the val set."
    if not found:
        return f"Intervals are over seeds; what a seed draws is not known, as no config.yaml is there. {not_val}"
    budget = any(data.get("train_per_class") or data.get("imbalance") for _, data in found)
    noisy = any(data.get("label_noise") for _, data in found)
    drawn = [("the draw of the training subset", budget), ("the draw of wrong labels", noisy)]
    words = [name for name, is_drawn in drawn if is_drawn]
    if not words:
        return f"Intervals cover training noise alone: every run was trained on the whole train split. {not_val}"
    if all(data.get("subset_seed") == seed for seed, data in found):
        return (
            f"Intervals cover training noise and {' and '.join(words)}: seed k draws it, the same for all variants."
            f" {not_val}"
        )
    by_seed: dict[int, set[object]] = {}
    for seed, data in found:
        by_seed.setdefault(seed, set()).add(data.get("subset_seed"))
    if len({data.get("subset_seed") for _, data in found}) == 1:
        return (
            f"Intervals cover training noise alone: all runs have data.subset_seed={found[0][1].get('subset_seed')},"
            f" and so the same training images. {not_val}"
        )
    shared = all(len(values) == 1 for values in by_seed.values())
    how = "the same for all variants of a seed" if shared else "not the same for all variants of a seed"
    return f"Intervals cover training noise and {' and '.join(words)}, which data.subset_seed draws, {how}. {not_val}"
