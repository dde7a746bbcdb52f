"""Sentences beside the answer: interactions, response curves, onset, added seeds, the test split."""

from collections.abc import Sequence

from terrablate.study.effects import Effect
from terrablate.study.evidence import Evidence
from terrablate.study.onset import Onsets
from terrablate.study.responses import Response
from terrablate.study.sentences import subject
from terrablate.study.wording import amount, metric_name, seeds, several, span

_AVERAGES = (
    "Where factors interact, a main effect is of the average over the other factors, not of each of their levels."
)


def about_interactions(effects: Sequence[Effect]) -> list[str]:
    """What the exploratory intervals of interactions, or of chains of them, say."""
    if not effects:
        return []
    is_chain = effects[0].kind == "alias_chain"
    kind = "chains of aliased two-way interactions" if is_chain else "two-way interactions"
    tail = " Interactions of one chain cannot be told apart: what is seen is their sum." if is_chain else ""
    clear = [f"{e.name} ({amount(e.estimate, e.metric)})" for e in effects if _is_clear(e)]
    if not clear:
        return [f"Exploratory: of {len(effects)} {kind} no pointwise interval excludes zero.{tail}"]
    words = several(clear, most=6)
    return [f"Exploratory: of {len(effects)} {kind} the pointwise interval of {words} excludes zero.{tail} {_AVERAGES}"]


def about_responses(curves: Sequence[Response], evidence: Evidence) -> list[str]:
    """The shape of each curve, as far as its intervals support one."""
    metric, what = evidence.metric, metric_name(evidence.metric)
    found = []
    for curve in curves:
        along = f"from {curve.factor}={curve.levels[0]} to {curve.levels[-1]}"
        ends = ""
        if interval := span(curve.low, curve.high, metric):
            ends = f" The ends differ by {amount(curve.difference, metric)}, pointwise 95 % interval {interval}."
        match curve.shape:
            case "rises" | "falls":
                found.append(f"Exploratory: {what} {curve.shape} {along}.{ends}")
            case "peak" | "dip":
                turn = "highest" if curve.shape == "peak" else "lowest"
                found.append(
                    f"Exploratory: {what} is {turn} at {curve.turn}, which differs from both ends, {along}.{ends}"
                )
            case _:
                found.append(
                    f"Exploratory: the intervals of all pairs of levels support no shape of {what} {along}.{ends}"
                )
    return found


def about_onset(onsets: Onsets, evidence: Evidence) -> list[str]:
    """How many runs have an onset, and when on average."""
    shares = {e.name: e for e in onsets.effects if e.metric == "onset_share"}
    if not shares:
        return []
    counts = several([f"{name} {round((e.estimate or 0) * e.n)}/{e.n}" for name, e in shares.items()], most=16)
    found = [f"Runs with onset of overfitting: {counts}."]
    clear = [e for e in onsets.effects if e.baseline and _is_clear(e)]
    if clear:
        words = several([f"{e.name} {amount(e.estimate, e.metric)} ({_pointwise(e)})" for e in clear])
        found.append(
            f"Exploratory: the mean of min(onset, {onsets.until:g}) differs from that of {evidence.baseline.name} by"
            f" {words}, pointwise 95 % intervals."
        )
    if onsets.until < onsets.budget:
        found.append(
            f"Restricted means go up to epoch {onsets.until:g} of {onsets.budget:g}: no run of some variant was watched"
            " for longer."
        )
    return found


def delays(onsets: Onsets) -> dict[str, str]:
    """What a variant does to the onset, where the pointwise interval of the difference excludes zero; by its name."""
    means = {e.name: e.estimate for e in onsets.effects if e.metric == "onset_restricted_mean" and not e.baseline}
    found = {}
    for e in onsets.effects:
        if e.baseline and e.estimate and _is_clear(e):
            verb = "delays" if e.estimate > 0 else "hastens"
            before, after = means.get(e.baseline), means.get(e.name)
            if before is not None and after is not None:
                found[e.name] = f"{verb} overfitting from epoch {before:.0f} to {after:.0f} on average (exploratory)"
    return found


def about_added(effects: Sequence[Effect], evidence: Evidence, more: int) -> list[str]:
    """The same family with the seeds that were added."""
    words = []
    for e in effects:
        if e.estimate is not None:
            ends = span(e.low, e.high, e.metric)
            words.append(
                f"{subject(e, evidence)} {amount(e.estimate, e.metric)}{f' ({ends})' if ends else ''} {e.verdict}"
            )
    return [f"With {seeds(more)} added later, which is not the answer: {'; '.join(words)}."] if words else []


def about_test(effects: Sequence[Effect], evidence: Evidence, openings: int) -> list[str]:
    """Whether the test split says the same."""
    words = []
    for e in effects:
        if e.test_estimate is not None and e.estimate is not None:
            ends = span(e.test_low, e.test_high, e.metric)
            told = f"{amount(e.test_estimate, e.metric)}{f' ({ends})' if ends else ''}"
            words.append(f"{subject(e, evidence)} {told} where val says {amount(e.estimate, e.metric)}")
    if not words:
        return []
    times = {0: "", 1: ", opened once,"}.get(openings, f", opened {openings} times,")
    what = metric_name(evidence.metric, split="test")
    return [f"On the test split{times} the differences of {what} are: {several(words, most=24)}."]


def _is_clear(effect: Effect) -> bool:
    """Whether the pointwise interval excludes zero."""
    low, high = effect.low_single, effect.high_single
    return low is not None and high is not None and low * high > 0


def _pointwise(effect: Effect) -> str:
    return span(effect.low_single, effect.high_single, effect.metric)
