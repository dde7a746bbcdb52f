"""All that the scripts of a page know, as one dict for JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.report.curves import Curves
from terrablate.report.effect_views import VIEWS, page_rows
from terrablate.report.facts import is_synthetic, levels_of, text_of
from terrablate.report.mistakes import Mistakes, gallery, suspected
from terrablate.report.names import VERDICTS, metric
from terrablate.report.pictures import Pictures
from terrablate.report.records import Records
from terrablate.report.run_rows import columns_of, configs, run_rows

if TYPE_CHECKING:
    from terrablate.study.effects import Effect
    from terrablate.study.evidence import Evidence, RunOf

MOST_PICTURE_BYTES = 2_500_000
_SHIFT_DIGITS = 4


def payload(
    evidence: "Evidence", effects: Sequence["Effect"], records: Records, output: Path, pictures: Pictures
) -> dict[str, Any]:
    """For the page of a study or of a run.

    Args:
        evidence: runs with their figures.
        effects: estimates of the answer; none of a single run.
        records: reads the runs' files and notes what is damaged.
        output: folder of the page.
        pictures: takes in the pictures of the gallery.
    """
    columns = columns_of(evidence)
    curves = Curves()
    runs = run_rows(evidence, columns, curves, records, output)
    common, rest = configs(evidence.runs)
    mistakes = _mistakes(evidence, records)
    rows = page_rows(effects, evidence.which)
    metrics = dict.fromkeys([row["metric"] for row in rows] + [column["key"] for column in columns])
    return {
        "name": evidence.name,
        "metric": evidence.metric,
        "which": evidence.which,
        "accuracyName": "exact match" if any(text_of(r, "labels") == "several" for r in evidence.runs) else "accuracy",
        "smallest": evidence.smallest_effect,
        "synthetic": is_synthetic(evidence.runs),
        "variants": [{"name": v.name, "levels": dict(v.levels)} for v in evidence.variants],
        "factors": levels_of([variant.levels for variant in evidence.variants]),
        "metrics": {name: vars(metric(name)) for name in metrics},
        "verdicts": VERDICTS,
        "views": VIEWS,
        "effects": rows,
        "columns": columns,
        "runs": [{**run, "diff": diff} for run, diff in zip(runs, rest, strict=True)],
        "config": common,
        "epochs": curves.epochs,
        "curveNames": curves.names,
        "mistakes": {name: found.to_dict() for name, found in mistakes.items()},
        "gallery": gallery(mistakes, _shown(evidence, records), pictures),
        "pictures": pictures.uris,
        "suspects": suspected([rows for run in _finished(evidence) if (rows := records.suspects(_folder(run)))]),
        "robustness": _robustness(evidence, records),
    }


def _finished(evidence: "Evidence") -> Iterator["RunOf"]:
    return (run for run in evidence.runs if run.folder is not None and run.status == "complete")


def _folder(run: "RunOf") -> Path:
    assert run.folder is not None
    return run.folder


def _mistakes(evidence: "Evidence", records: Records) -> dict[str, Mistakes]:
    """By variant, over its runs; in the order of the variants."""
    found: dict[str, Mistakes] = {}
    for run in _finished(evidence):
        folder = _folder(run)
        which = evidence.which if evidence.which != "deployed" else text_of(run, "deployed.which") or "last"
        predictions = records.predictions(folder, which)
        if predictions is None:
            continue
        known = found.get(run.variant)
        if known is None:
            known = Mistakes(_classes(folder, records, predictions.probabilities.shape[1]), predictions.several)
        if known.add(predictions):
            found[run.variant] = known
        else:
            records.problems.append(f"{folder.name}/val_predictions.npz does not fit the classes and was left out")
    return {variant.name: found[variant.name] for variant in evidence.variants if variant.name in found}


def _classes(folder: Path, records: Records, count: int) -> tuple[str, ...]:
    names = records.result(folder).get("classes")
    if isinstance(names, list) and len(names) == count:
        return tuple(map(str, names))
    return tuple(f"class {number}" for number in range(count))


def _shown(evidence: "Evidence", records: Records) -> dict[str, list[tuple[Path, Any]]]:
    found: dict[str, list[tuple[Path, Any]]] = {}
    for run in _finished(evidence):
        found.setdefault(run.variant, []).extend((_folder(run), item) for item in records.worst(_folder(run)))
    return found


def _robustness(evidence: "Evidence", records: Records) -> dict[str, Any] | None:
    """By shift: what it is, and by variant the curves of its runs."""
    shifts: dict[str, Any] = {}
    for run in _finished(evidence):
        for name, shift in ((records.robustness(_folder(run)) or {}).get("shifts") or {}).items():
            words = {key: shift.get(key) for key in ("unit", "meaning", "amount")}
            own = shifts.setdefault(name, {**words, "runs": {}})
            if shift.get("amount") == own["amount"]:
                own["runs"].setdefault(run.variant, []).append(
                    {key: [_short(value) for value in shift.get(key) or ()] for key in ("accuracy", "nll")}
                )
    return shifts or None


def _short(value: Any) -> float | None:
    return round(value, _SHIFT_DIGITS) if isinstance(value, int | float) else None
