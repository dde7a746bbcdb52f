"""`report.md`: a study on a page of a repository, with its figures beside it."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from terrablate.report import effect_views, facts
from terrablate.report.names import counted, metric
from terrablate.report.study_page import eyebrow, sought

if TYPE_CHECKING:
    from terrablate.study.answers import Answer
    from terrablate.study.effects import Effect


def effects_table(effects: Sequence["Effect"], means: dict[str, "Effect"]) -> str:
    """The primary effects as a Markdown table; '' where there are none.

    Args:
        effects: of the primary metric, of one kind.
        means: of each variant, where there are any.
    """
    if not effects:
        return ""
    told = metric(effects[0].metric)
    unit = f", {told.unit}" if told.unit else ""
    rows = effect_views.table_rows(effects, means)
    columns = [("difference", f"difference{unit}"), ("interval", "95 % interval"), ("verdict", "verdict")]
    if any(row["mean"] for row in rows):
        columns.append(("mean", f"val {told.label}"))
    columns += [("n", "seeds"), ("detectable", "detectable"), ("needed", "seeds needed")]
    if any(row["test"] for row in rows):
        columns += [("test", f"on test{unit}"), ("test_interval", "95 % interval")]
    header = ["variant" if effects[0].kind == "comparison" else "effect", *(label for _, label in columns)]
    cells = [[row["title"], *(row[key] for key, _ in columns)] for row in rows]
    base = means.get(effects[0].baseline)
    if base is not None and effects[0].kind == "comparison":
        value = {"mean": f"{base.estimate:.3f}" if base.estimate is not None else "", "n": str(base.n)}
        cells.insert(0, [f"{base.name} (baseline)", *(value.get(key, "") for key, _ in columns)])
    return effect_views.markdown_table(header, cells)


def markdown(answer: "Answer", problems: Sequence[str], made: str, pictures: Collection[str]) -> str:
    """The page as Markdown.

    Args:
        answer: with the evidence that it rests on.
        problems: what was damaged and left out.
        made: when.
        pictures: names of the figures that lie beside it.
    """
    evidence, plain = answer.evidence, effect_views.plain_markdown
    effects = effect_views.primary(answer.effects, evidence.metric)
    told = metric(evidence.metric)
    parts = [f"# {plain(evidence.question or evidence.name)}", plain(eyebrow(evidence))]
    parts.append(f"**{plain(answer.sentences[0])}**" if answer.sentences else "**No run has ended well yet.**")
    if facts.is_synthetic(evidence.runs):
        parts.append("*Synthetic data, not real.*")
    if "effects.png" in pictures:
        parts.append(f"![Differences of val {told.label} with their intervals](effects.png)")
    if table := effects_table(effects, effect_views.means(answer.effects, evidence.metric)):
        parts += [
            f"Primary metric: val {told.label}; {effect_views.VIEWS[effects[0].kind]}.",
            table,
            "Detectable: the smallest effect that these seeds would find in four of five such studies. Seeds needed: to"
            f" find {sought(evidence)} in as many.",
        ]
    if len(answer.sentences) > 1:
        parts += ["## Findings", "\n".join(f"- {plain(sentence)}" for sentence in answer.sentences[1:])]
    if "curves.png" in pictures:
        parts += ["## Curves", "![Val and probe NLL against the epoch, a panel a variant](curves.png)"]
    if rows := effect_views.onset_rows(answer.effects):
        header = ("variant", "onset in", "95 % of that share", "epochs before the onset", "difference", "95 %")
        keys = ("name", "runs", "share", "epochs", "difference", "interval")
        cells = [[row[key] for key in keys] for row in rows]
        parts += [
            "When overfitting begins; a run without onset counts with its budget:",
            effect_views.markdown_table(header, cells, left=2),
        ]
    if answer.coverage:
        parts += ["## What the intervals cover", "\n".join(f"- {plain(sentence)}" for sentence in answer.coverage)]
    if answer.warnings or problems:
        listed = [f"- {plain(sentence)}" for sentence in dict.fromkeys((*answer.warnings, *problems))]
        parts += ["## What to know before believing it", "\n".join(listed)]
    if fallen := facts.fallen(evidence.runs):
        cells = [[run["variant"], str(run["seed"]), run["status"], run["reason"]] for run in fallen]
        table = effect_views.markdown_table(("variant", "seed", "status", "reason"), cells, left=4)
        parts += [f"## {counted(len(fallen), 'run')} without figures", table]
    parts += ["## Provenance", _provenance(answer, made)]
    return "\n\n".join(parts) + "\n"


def _provenance(answer: "Answer", made: str) -> str:
    evidence, plain = answer.evidence, effect_views.plain_markdown
    lines = [f"- {plain(facts.runs_sentence(evidence.runs))}"]
    lines += [f"- {label}: {plain(value)}" for label, value in facts.provenance(evidence.runs)]
    if evidence.overrides:
        lines.append(
            "- overrides of every run: " + " ".join(f"`{word.replace('`', '')}`" for word in evidence.overrides)
        )
    return "\n".join([*lines, f"- made at {made} by `python src/report.py study={evidence.name}`"])
