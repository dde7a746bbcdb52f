"""`summary.md` and `effects.tex` of an answer."""

import shlex
from collections import Counter
from collections.abc import Sequence

from terrablate.study.answers import Answer
from terrablate.study.cautions import lost, why_lost
from terrablate.study.effects import Effect
from terrablate.study.evidence import GRID, Evidence
from terrablate.study.measures import complete
from terrablate.study.tables import effects_table, exploratory_table, latex, markdown, means_and_differences
from terrablate.study.wording import amount, mean, metric_name, number, runs, seeds, several, span, unit

_PLACES = ("runs_dir=", "studies_dir=", "packs_dir=")


def summary_md(answer: Answer) -> str:
    """The answer for a reader."""
    evidence = answer.evidence
    parts = [f"# {evidence.name}\n"]
    if evidence.question:
        parts.append(f"**Question.** {evidence.question}\n")
    first, *rest = answer.sentences
    parts.append(f"**Answer.** {first}\n")
    if rest:
        parts.append(_list(rest))
    if answer.warnings:
        parts += ["## Before you believe it\n", _list(answer.warnings)]
    parts += _primary(answer)
    parts += _curves(answer.effects)
    parts += _onset(answer.effects, evidence)
    parts += _exploratory(answer)
    parts += ["## What the intervals cover\n", _list(answer.coverage)]
    parts += _not_counted(evidence)
    parts += ["## How it was made\n", _list(_provenance(evidence)), _command(evidence)]
    return "\n".join(part for part in parts if part)


def effects_tex(answer: Answer) -> str:
    """The primary metric as a LaTeX table."""
    evidence = answer.evidence
    main = [e for e in answer.effects if e.role == "primary"]
    what = metric_name(evidence.metric)
    in_unit = "differences in points" if unit(evidence.metric, 2) else f"differences in {what}"
    caption = (
        f"{evidence.question or evidence.name} {what[:1].upper()}{what[1:]} over {seeds(len(evidence.planned_seeds))},"
        f" {in_unit} to {evidence.baseline.name}, with simultaneous 95 % intervals."
    )
    return latex(
        [e for e in main if e.kind == "variant"],
        [e for e in main if e.kind == "comparison"],
        [e for e in main if e.kind == "main_effect"],
        caption,
    )


def _primary(answer: Answer) -> list[str]:
    evidence = answer.evidence
    main = [e for e in answer.effects if e.role == "primary"]
    means = [e for e in main if e.kind == "variant"]
    compared = [e for e in main if e.kind == "comparison"]
    of_factors = [e for e in main if e.kind == "main_effect"]
    weights = {"deployed": _deployed(evidence), "best": "the best epoch", "last": "the last epoch"}[evidence.which]
    method = next((e.method for e in main if e.kind != "variant" and e.method != "none"), "")
    how = {
        "block+dunnett": "Intervals are simultaneous over this family: a model of variants and seeds, with critical"
        " values of the multivariate t (Dunnett).",
        "paired+bonferroni": "Intervals are simultaneous over this family: differences seed by seed, adjusted by"
        " Bonferroni.",
    }.get(method, "There are no intervals.")
    text = f"Primary metric: {metric_name(evidence.metric)} of {weights}. " + (
        f"Differences are to `{evidence.baseline.name}`. {how}" if compared else how if of_factors else ""
    )
    if evidence.smallest_effect is not None:
        smallest = evidence.smallest_effect
        text += f" Smallest effect of interest: {number(smallest, evidence.metric)}{unit(evidence.metric, smallest)}."
    found = ["## Primary comparisons\n", text.strip() + "\n"]
    if of_factors:
        found.append(effects_table(of_factors))
    found.append(means_and_differences(means, compared))
    asides = [e for e in answer.effects if e.kind in ("interaction", "alias_chain") and e.metric == evidence.metric]
    if asides:
        chains = asides[0].kind == "alias_chain"
        name = "Chains of aliased interactions" if chains else "Two-way interactions"
        found += [
            f"## {name} (exploratory)\n",
            "Half of what the one factor changes about the other's effect; intervals are pointwise.\n",
            effects_table(asides),
        ]
    return found


def _curves(effects: Sequence[Effect]) -> list[str]:
    rows = [e for e in effects if e.kind == "response"]
    found = []
    for factor in dict.fromkeys(e.factor for e in rows):
        cells = [
            [
                e.level,
                str(e.n),
                "" if e.estimate is None else mean(e.estimate, e.metric),
                "" if e.low is None or e.high is None else f"{mean(e.low, e.metric)} to {mean(e.high, e.metric)}",
            ]
            for e in rows
            if e.factor == factor
        ]
        found += [f"## By {factor}\n", markdown([factor, "seeds", "mean", "95 % interval, pointwise"], cells)]
    return found


def _onset(effects: Sequence[Effect], evidence: Evidence) -> list[str]:
    rows = [e for e in effects if e.kind == "onset"]
    if not rows:
        return []
    cells = []
    for variant in evidence.variants:
        mine = {(e.metric, bool(e.baseline)): e for e in rows if e.name == variant.name}
        share, restricted = mine.get(("onset_share", False)), mine.get(("onset_restricted_mean", False))
        if share is None or restricted is None or share.estimate is None or restricted.estimate is None:
            continue
        difference = mine.get(("onset_restricted_mean", True))
        told = ""
        if difference is not None and difference.estimate is not None:
            ends = span(difference.low, difference.high, difference.metric)
            told = amount(difference.estimate, difference.metric) + (f" ({ends})" if ends else "")
        cells.append(
            [
                f"`{variant.name}`",
                f"{round(share.estimate * share.n)}/{share.n} ({share.low or 0:.2f} to {share.high or 0:.2f})",
                mean(restricted.estimate, restricted.metric),
                told,
            ]
        )
    note = (
        "A run without onset is censored at its last epoch. Shares have exact 95 % intervals; the mean is that of"
        " min(onset, epochs watched), in epochs, by Kaplan and Meier where runs were watched for a shorter time;"
        " differences have pointwise 95 % intervals.\n"
    )
    head = ["variant", "runs with onset", "restricted mean", "difference"]
    return ["## Onset of overfitting (exploratory)\n", note, markdown(head, cells)]


def _exploratory(answer: Answer) -> list[str]:
    kinds = ("comparison", "main_effect")
    evidence = answer.evidence
    rows = [
        e
        for e in answer.effects
        if e.role == "exploratory" and e.kind in kinds and e.seeds == "planned" and e.estimate is not None
    ]
    single = [e for e in rows if (e.metric, e.which) == (evidence.metric, evidence.which)]
    rows = [e for e in rows if (e.metric, e.which) != (evidence.metric, evidence.which)]
    found = []
    if single:
        found += ["## Single variants (exploratory)\n", "Intervals are pointwise.\n", effects_table(single)]
    if rows:
        note = "Differences with pointwise 95 % intervals: of so many some exclude zero by chance alone.\n"
        found += ["## Other metrics (exploratory)\n", note, exploratory_table(rows)]
    return found


def _not_counted(evidence: Evidence) -> list[str]:
    cells = [[f"`{run.variant}`", str(run.seed), why_lost(run), run.reason] for run in lost(evidence)]
    if not cells:
        return []
    return ["## Runs that do not count\n", markdown(["variant", "seed", "what", "reason"], cells)]


def _deployed(evidence: Evidence) -> str:
    found = {run.texts.get("deployed.which") for run in complete(evidence)} - {None}
    if len(found) == 1:
        return {"best": "the deployed weights (best epoch)", "last": "the deployed weights (last epoch)"}.get(
            str(found.pop()), "the deployed weights"
        )
    return "the deployed weights (best epoch with early stopping, else the last)"


def _provenance(evidence: Evidence) -> list[str]:
    done = complete(evidence)
    sentences = [
        f"{runs(len(done))} of {len(evidence.runs)} complete; {len(evidence.variants)} variants, planned"
        f" {seeds(len(evidence.planned_seeds))} ({', '.join(map(str, evidence.planned_seeds))})."
    ]
    for column, name in (
        ("provenance.commit", "commit"),
        ("provenance.code", "code identity"),
        ("provenance.data_fingerprint", "data fingerprint"),
        ("provenance.device", "device"),
    ):
        counts = Counter(run.texts[column] for run in done if column in run.texts)
        if counts:
            words = [
                f"{value[:12] if len(value) >= 40 else value}" + (f" ({runs(count)})" if len(counts) > 1 else "")
                for value, count in counts.most_common()
            ]
            sentences.append(f"{name}: {several(words)}")
    prefix = "provenance.packages."
    packages: dict[str, set[str]] = {}
    for run in done:
        for column, value in run.texts.items():
            if column.startswith(prefix):
                packages.setdefault(column.removeprefix(prefix), set()).add(value)
    if packages:
        sentences.append("versions: " + ", ".join(f"{k} {' and '.join(sorted(v))}" for k, v in packages.items()))
    total = sum(run.values.get("cost.seconds", 0.0) for run in done)
    if total:
        sentences.append(f"cost: {total / 60:.0f} minutes of training, {total / len(done):.0f} s a run on average")
    return sentences


def _command(evidence: Evidence) -> str:
    words = [word for word in evidence.overrides if not word.startswith(_PLACES)]
    if evidence.folder is None:
        return ""
    if evidence.design == GRID:
        words += [] if evidence.name.startswith("grid-") else [f"study.name={evidence.name}"]
        levels: dict[str, list[str]] = {}
        for variant in evidence.variants:
            for factor, level in variant.levels.items():
                if level not in levels.setdefault(factor, []):
                    levels[factor].append(level)
        words += [f"{factor}={','.join(found)}" for factor, found in levels.items()]
        words.append(f"seed={','.join(map(str, evidence.planned_seeds))}")
    else:
        words.insert(0, f"study={evidence.name}")
    return f"```bash\npython src/train.py -m {' '.join(map(shlex.quote, words))}\n```\n"


def _list(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
