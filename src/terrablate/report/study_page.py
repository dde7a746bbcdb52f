"""What the page of a study says in words, filled into its template."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.report import effect_views, facts
from terrablate.report.names import counted, difference, metric, number
from terrablate.report.page import render
from terrablate.report.payload import MOST_PICTURE_BYTES, payload
from terrablate.report.pictures import Pictures
from terrablate.report.records import Records
from terrablate.report.running import with_running

if TYPE_CHECKING:
    from terrablate.study.answers import Answer
    from terrablate.study.evidence import Evidence

_WEIGHTS = {"deployed": "deployed weights", "best": "best epoch", "last": "last epoch"}
_NOUNS = {"main_effect": "effect", "alias_chain": "chain", "interaction": "interaction"}


def study_page(
    answer: "Answer", output: Path, downloads: Mapping[str, str], made: str, reload: int | None = None
) -> tuple[str, dict[str, Any], list[str]]:
    """The page of a study.

    Args:
        answer: with the evidence that it rests on.
        output: folder of the page.
        downloads: tables of the effects by file ending.
        made: when, for the foot of the page.
        reload: seconds after which an open page reads itself anew.

    Returns:
        The page, the data in it, and what was damaged and left out.
    """
    evidence, records = with_running(answer.evidence), Records()
    data = payload(evidence, answer.effects, records, output, Pictures(MOST_PICTURE_BYTES))
    times, openings = facts.openings(evidence.folder, records) if evidence.folder else (facts.NEVER_OPENED, [])
    problems = list(dict.fromkeys([*evidence.problems, *records.problems]))
    rows = effect_views.primary(answer.effects, evidence.metric)
    means = effect_views.means(answer.effects, evidence.metric)
    table = effect_views.table_rows(rows, means)
    told = metric(evidence.metric)
    shown = {
        "has_curves": bool(data["curveNames"]),
        "has_map": any(value is not None for run in data["runs"] for value in run["x"]),
        "has_mistakes": bool(data["mistakes"]),
        "has_calibration": bool(data["mistakes"]),
        "has_robustness": bool(data["robustness"]),
    }
    html = render(
        "study.html.j2",
        {**data, "downloads": dict(downloads)},
        title=f"{evidence.name}: {evidence.question}" if evidence.question else evidence.name,
        sections=_sections(shown),
        synthetic=data["synthetic"],
        eyebrow=eyebrow(evidence),
        heading=evidence.question or evidence.name,
        answer=answer.sentences[0] if answer.sentences else "No run has ended well yet.",
        sentences=answer.sentences[1:],
        warnings=answer.warnings,
        coverage=answer.coverage,
        problems=problems,
        facts=_facts(evidence, times, answer.warnings),
        fallen=facts.fallen(evidence.runs),
        openings=openings,
        provenance=facts.provenance(evidence.runs),
        rows=table,
        baseline_row=_baseline_row(evidence, means) if rows and rows[0].kind == "comparison" else None,
        effects_caption=_caption(evidence, rows),
        effects_noun=_NOUNS.get(rows[0].kind, "variant") if rows else "variant",
        has_means=bool(means) and bool(rows) and rows[0].kind == "comparison",
        has_test=any(row["test"] for row in table),
        unit=f", {told.unit}" if told.unit else "",
        metric=told,
        sought=sought(evidence),
        why_none=_why_none(evidence),
        onsets=effect_views.onset_rows(answer.effects),
        **shown,
        version=version(),
        made=made,
        source=f"the study {evidence.name}" if evidence.folder else "the records of the runs",
        reload=reload,
    )
    return html, data, problems


def version() -> str:
    """Of this package."""
    from importlib.metadata import version as installed

    return installed("terrablate")


def eyebrow(evidence: "Evidence") -> str:
    """One line on what was compared."""
    seeds = counted(len(evidence.planned_seeds), "seed")
    design = evidence.design.replace("_", " ")
    resolution = f" of resolution {evidence.resolution}" if evidence.resolution else ""
    start = f"Study {evidence.name}" if evidence.folder else "Runs"
    return f"{start} · {design}{resolution} · {counted(len(evidence.variants), 'variant')} × {seeds}"


def sought(evidence: "Evidence") -> str:
    """The effect that `seeds needed` speaks of."""
    if evidence.smallest_effect is None:
        return "an effect as large as the one that was seen"
    unit = metric(evidence.metric).unit
    return (
        f"the smallest effect of interest, {difference(evidence.metric, evidence.smallest_effect)[1:]} {unit}".strip()
    )


def _facts(evidence: "Evidence", times: str, warnings: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Strong word, text, and whether it is bad news."""
    told = metric(evidence.metric)
    found = [
        ("", facts.runs_sentence(evidence.runs), any(run.status != "complete" for run in evidence.runs)),
        ("", f"primary metric: val {told.label}, {_WEIGHTS[evidence.which]}", False),
        ("", times, False),
    ]
    if warnings:
        found.append(("", counted(len(warnings), "caveat"), False))
    found += [("", sentence.rstrip("."), True) for sentence in facts.mixed(evidence.runs)]
    commits = {facts.text_of(run, "provenance.commit")[:7] for run in evidence.runs} - {""}
    if commits:
        found.append(
            ("", f"commit {' and '.join(sorted(commits))}" if len(commits) < 3 else f"{len(commits)} commits", False)
        )
    if facts.is_synthetic(evidence.runs):
        found.append(("", "synthetic data, not real", True))
    return found


def _baseline_row(evidence: "Evidence", means: Mapping[str, Any]) -> dict[str, str] | None:
    mean = means.get(evidence.variants[0].name)
    if mean is None:
        return None
    return {"title": mean.name, "n": str(mean.n), "mean": number(mean.estimate, 3)}


def _caption(evidence: "Evidence", rows: Sequence[Any]) -> str:
    if not rows:
        return ""
    told = metric(evidence.metric)
    kind = effect_views.VIEWS[rows[0].kind]
    return f"Primary metric: {kind}, val {told.label}, {_WEIGHTS[evidence.which]}"


def _why_none(evidence: "Evidence") -> str:
    if not any(run.status == "complete" for run in evidence.runs):
        return "no run has ended well"
    if len(evidence.variants) < 2:
        return "there is one variant only, and nothing to compare it to"
    return "the variants have no seed in common with the baseline, or no finite numbers"


def _sections(shown: Mapping[str, bool]) -> list[tuple[str, str]]:
    every = [
        ("effects", "Effects", True),
        ("curves", "Curves", shown["has_curves"]),
        ("map", "Map", shown["has_map"]),
        ("errors", "Errors", shown["has_mistakes"]),
        ("calibration", "Calibration", shown["has_calibration"]),
        ("robustness", "Robustness", shown["has_robustness"]),
        ("runs", "Runs", True),
    ]
    return [(anchor, label) for anchor, label, is_there in every if is_there]
