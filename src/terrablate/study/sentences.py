"""An answer in sentences; those of the primary metric use the simultaneous intervals alone."""

from collections.abc import Mapping, Sequence

from terrablate.study.cautions import diverged, lost_variants
from terrablate.study.effects import Effect
from terrablate.study.estimates import is_factorial
from terrablate.study.evidence import Evidence
from terrablate.study.wording import (
    amount,
    change,
    found_with_power,
    interval,
    mean,
    metric_name,
    number,
    outlook,
    seeds,
    several,
    size,
    span,
    unit,
)


def subject(effect: Effect, evidence: Evidence) -> str:
    """What does it: `flip`, `leaving flip out`, `aug=flip instead of none`."""
    if effect.kind == "comparison" and evidence.design == "leave_one_out" and effect.name.startswith("without "):
        return f"leaving {effect.name.removeprefix('without ')} out"
    if effect.kind == "main_effect":
        return f"{effect.name} instead of {effect.baseline}"
    return effect.name


_MOST = 4
"""Tricks of one verdict that the answer names; the others are counted, and stand in the sentences after it."""


def lead(effects: Sequence[Effect], evidence: Evidence, delays: Mapping[str, str] | None = None) -> str:
    """The answer in one sentence.

    Args:
        effects: of the primary family.
        evidence: that they rest on.
        delays: what a variant does to the onset of overfitting, by its name.
    """
    what = metric_name(evidence.metric)
    found = [effect for effect in effects if effect.estimate is not None]
    lost = lost_variants(evidence)
    if not found and is_factorial(evidence) and lost and len(lost) < len(evidence.variants):
        return (
            f"There is no answer: main effects are averages over all variants, and no run of {several(lost)} counts;"
            " single variants are compared in the tables."
        )
    if not found:
        return f"There is no answer: no two variants have complete runs of one seed with a figure of {what}."
    count = max(effect.n for effect in found)
    largest = max(found, key=lambda effect: (effect.low is not None, abs(effect.estimate or 0)))
    told = f"{subject(largest, evidence)} {amount(largest.estimate, largest.metric)}"
    if all(effect.low is None for effect in found):
        if count < 2:
            return (
                f"With {seeds(count)} there is no interval, so that no difference of {what} can be told from noise; the"
                f" largest that was seen is {told}."
            )
        return (
            f"Nothing is decided about {what}: the differences to {_base(evidence)} are the same in all {seeds(count)},"
            " which leaves no spread to judge them by."
        )
    parts: list[str] = []
    for verdict in ("helps", "hurts"):
        decided = sorted((e for e in found if e.verdict == verdict), key=lambda e: -abs(e.estimate or 0))
        parts += [
            _decided(e, evidence, (delays or {}).get(e.name), is_first=not parts and e is decided[0])
            for e in decided[:_MOST]
        ]
        if len(decided) > _MOST:
            parts.append(f"{len(decided) - _MOST} more {verdict.removesuffix('s')}")
    none = [_brief(effect, evidence) for effect in found if effect.verdict == "no relevant effect"]
    if none:
        smallest = evidence.smallest_effect or 0
        bound = f"{number(smallest, evidence.metric)}{unit(evidence.metric, smallest)}"
        parts.append(f"{several(none, most=_MOST)} {'has' if len(none) == 1 else 'have'} no effect as large as {bound}")
    undecided = [_brief(effect, evidence) for effect in found if effect.verdict == "undecided"]
    if not parts:
        held = f" (95 % simultaneous interval {span(largest.low, largest.high, largest.metric)})"
        if len(found) == 1:
            return (
                f"Over {seeds(count)} the study does not decide the one difference of {what} to {_base(evidence)}:"
                f" {told}, and the interval holds zero{held}."
            )
        return (
            f"Over {seeds(count)} the study does not decide any of the {len(found)} differences of {what} to"
            f" {_base(evidence)}: every simultaneous interval holds zero; the largest difference is {told}{held}."
        )
    if undecided:
        parts.append(f"{several(undecided, most=_MOST)} {'is' if len(undecided) == 1 else 'are'} undecided")
    unknown = [subject(effect, evidence) for effect in effects if effect.estimate is None]
    if unknown:
        parts.append(f"nothing can be said of {several(unknown, most=_MOST)}")
    if is_factorial(evidence):
        return f"On average over the other factors, with {seeds(count)}: {'; '.join(parts)}."
    return f"Compared with {_base(evidence)} over {seeds(count)}: {'; '.join(parts)}."


def each_effect(effects: Sequence[Effect], evidence: Evidence) -> list[str]:
    """A sentence for each comparison of the primary family."""
    found = []
    what = metric_name(evidence.metric)
    undecided = [effect for effect in effects if effect.verdict == "undecided"]
    shared = {found_with_power(effect) for effect in undecided}
    for effect in effects:
        who = subject(effect, evidence)
        if effect.estimate is None:
            found.append(f"{who}: no estimate, because no seed ties it to {_base(evidence)}.")
            continue
        told = f"{who} {change(effect, what=what)} ({interval(effect)}): {effect.verdict}"
        if effect.verdict == "undecided":
            rest = outlook(effect, power_of=_goal(effect), with_power=len(shared) > 1)
            told += f"; {rest}" if rest else ""
        if effect.verdict in ("helps", "hurts") and effect.smallest_effect is not None:
            told += _relevance(effect)
        told += _of_the_trick(effect, evidence)
        if diverging := diverged(evidence, effect.name):
            told += f"; {diverging}"
        found.append(f"{told}.")
    if len(shared) == 1 and (sentence := shared.pop()):
        found.append(f"{sentence}.")
    return found


def about_equivalence(effects: Sequence[Effect], evidence: Evidence) -> list[str]:
    """Why `no relevant effect` cannot be concluded, where no smallest effect was declared."""
    undecided = [effect for effect in effects if effect.verdict == "undecided" and effect.low is not None]
    if evidence.smallest_effect is not None or not undecided:
        return []
    return [
        "Undecided does not mean no effect: that none is relevant could only be shown against a smallest effect of"
        " interest, and the study declares none (study.smallest_effect)."
    ]


def one_variant(evidence: Evidence, rows: Sequence[Effect]) -> str:
    """Where there is nothing to compare."""
    row = rows[0]
    what = metric_name(evidence.metric)
    if row.estimate is None:
        return f"There is no answer: no run of {row.name} is complete with a figure of {what}."
    spread = ""
    if row.low is not None and row.high is not None:
        spread = f" (95 % interval {mean(row.low, row.metric)} to {mean(row.high, row.metric)})"
    return (
        f"There is nothing to compare, as the study has one variant; {what} of {row.name} is"
        f" {mean(row.estimate, row.metric)} over {seeds(row.n)}{spread}."
    )


def _decided(effect: Effect, evidence: Evidence, delay: str | None, *, is_first: bool) -> str:
    """`flip helps (+4.1 points of val accuracy, 95 % simultaneous interval 2.9 to 5.3)`; the next ones are shorter."""
    assert effect.estimate is not None
    assert effect.low is not None
    assert effect.high is not None
    metric = effect.metric
    of, held = (f" of {metric_name(metric)}", "95 % simultaneous interval ") if is_first else ("", "")
    told = f"{amount(effect.estimate, metric)}{of}, {held}{span(effect.low, effect.high, metric)}"
    return f"{_brief(effect, evidence)} {effect.verdict} ({told})" + (f" and {delay}" if delay else "")


def _brief(effect: Effect, evidence: Evidence) -> str:
    """What does it, without the level that it replaces."""
    return effect.name if effect.kind == "main_effect" else subject(effect, evidence)


def _base(evidence: Evidence) -> str:
    if is_factorial(evidence):
        return "each factor's baseline level (averaged over the other factors)"
    return evidence.baseline.name


def _of_the_trick(effect: Effect, evidence: Evidence) -> str:
    """What leaving a trick out says of the trick."""
    trick = effect.name.removeprefix("without ")
    if evidence.design != "leave_one_out" or effect.kind != "comparison" or trick == effect.name:
        return ""
    meaning = {
        "hurts": "helps beside the others",
        "helps": "hurts beside the others",
        "no relevant effect": "adds nothing relevant to the others",
    }.get(effect.verdict)
    return f", so that {trick} {meaning}" if meaning else ""


def _goal(effect: Effect) -> str:
    if effect.smallest_effect is not None:
        smallest = effect.smallest_effect
        return (
            f"an effect of {number(smallest, effect.metric)}{unit(effect.metric, smallest)}, the smallest of interest,"
        )
    return f"a true effect as large as this one ({size(effect)})"


def _relevance(effect: Effect) -> str:
    """Whether an effect that is there is also shown to be of interest."""
    assert effect.smallest_effect is not None
    assert effect.low is not None
    assert effect.high is not None
    nearest = min(abs(effect.low), abs(effect.high))
    if nearest >= effect.smallest_effect:
        return ", and by a relevant amount"
    smallest = f"{number(effect.smallest_effect, effect.metric)}{unit(effect.metric, effect.smallest_effect)}"
    return f", though it is not shown that the effect is as large as {smallest}"
