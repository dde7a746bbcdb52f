"""The page of one run: verdict, curves, what training saw, mistakes, network, config."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.report import facts
from terrablate.report.names import counted, number, sign_of
from terrablate.report.network import layers
from terrablate.report.page import render
from terrablate.report.payload import MOST_PICTURE_BYTES, payload
from terrablate.report.pictures import Pictures
from terrablate.report.records import Records
from terrablate.report.run_rows import FILES, link, written
from terrablate.report.study_page import version
from terrablate.study.run_files import flat

if TYPE_CHECKING:
    from terrablate.study.evidence import Evidence, RunOf

_MOST_BYTES_OF_SHEETS = 9_000_000
_MOST_LAYERS = 400


def run_page(evidence: "Evidence", output: Path, made: str, reload: int | None = None) -> tuple[str, list[str]]:
    """The page of the one run that the evidence holds.

    Args:
        evidence: with one run, whose record is there.
        output: folder of the page.
        made: when, for the foot of the page.
        reload: seconds after which an open page reads itself anew.

    Returns:
        The page, and what was damaged and left out.
    """
    run, records = evidence.runs[0], Records()
    folder = run.folder
    assert folder is not None
    result = records.result(folder)
    sheets = Pictures(_MOST_BYTES_OF_SHEETS)
    data = payload(evidence, (), records, output, Pictures(MOST_PICTURE_BYTES))
    times, openings = facts.openings(folder, records)
    explained = [
        {**item, "uri": sheets.uris[key]}
        for item in records.explained(folder)
        if (key := sheets.add(folder / item["file"])) is not None
    ]
    unexplained = records.unexplained(folder)
    augmentations = sheets.add(folder / "augmentations.png")
    network = layers(output, run.config, result)
    shown = {
        "has_mistakes": bool(data["mistakes"]),
        "has_robustness": bool(data["robustness"]),
        "has_curves": bool(data["curveNames"]),
    }
    html = render(
        "run.html.j2",
        {**data, "kind": "run"},
        title=folder.name,
        sections=_sections(shown, bool(explained or unexplained), bool(augmentations)),
        synthetic=data["synthetic"],
        name=folder.name,
        verdict=facts.text_of(run, "overfitting.verdict") or run.status,
        sign=sign_of(facts.text_of(run, "overfitting.verdict") or run.status),
        sentence=facts.text_of(run, "overfitting.sentence") or run.reason,
        facts=_facts(run, result, times),
        problems=[*evidence.problems, *records.problems],
        openings=openings,
        provenance=facts.provenance(evidence.runs),
        figures=_figures(run),
        stops=_stops(result),
        augmentations=sheets.uris[augmentations] if augmentations else None,
        explained=explained,
        unexplained=unexplained,
        layers=network[:_MOST_LAYERS],
        more_layers=max(0, len(network) - _MOST_LAYERS),
        stages=(result.get("finetune") or {}).get("stages") or [],
        config=[(key, written(value)) for key, value in flat(dict(run.config)).items()],
        files=[
            (name, link(folder / name, output)) for name in FILES if name != "report.html" and (folder / name).is_file()
        ],
        **shown,
        version=version(),
        made=made,
        source=f"the record {folder.name}",
        reload=reload,
        number=number,
    )
    return html, [*evidence.problems, *records.problems]


def _facts(run: "RunOf", result: Mapping[str, Any], times: str) -> list[str]:
    values = run.values
    images = result.get("images") or {}
    found = [f"seed {run.seed}"]
    if which := facts.text_of(run, "deployed.which"):
        found.append(f"deployed weights: {which} epoch")
    if images.get("train"):
        found.append(f"{counted(images['train'], 'training image')}, {counted(images.get('val') or 0, 'val image')}")
    if classes := result.get("classes"):
        found.append(counted(len(classes), "class", "classes"))
    if "cost.parameters" in values:
        found.append(counted(round(values["cost.parameters"]), "parameter"))
    if "cost.seconds" in values:
        found.append(facts.duration(values["cost.seconds"]))
    return [*found, times]


def _figures(run: "RunOf") -> list[dict[str, str]]:
    """Val figures at the deployed, best and last epoch, a dict a metric."""
    names = dict.fromkeys(
        column.split(".", 1)[1] for column in run.values if column.startswith(("deployed.", "best.", "last."))
    )
    return [
        {
            "name": name,
            **{which: _cell(run.values.get(f"{which}.{name}"), name) for which in ("deployed", "best", "last")},
        }
        for name in names
    ]


def _cell(value: float | None, name: str) -> str:
    return number(value, 0 if name == "epoch" else 4)


def _stops(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """What early stopping would have given, by patience."""
    rows = result.get("early_stopping")
    return [
        {
            "patience": str(row.get("patience")),
            "stop": "never" if row.get("stop_epoch") is None else str(row["stop_epoch"]),
            "accuracy": number(row.get("accuracy/val"), 3),
            "nll": number(row.get("nll/val"), 3),
            "saved": "" if row.get("saved") is None else f"{100 * row['saved']:.0f} %",
        }
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping)
    ]


def _sections(shown: Mapping[str, bool], is_explained: bool, has_sheet: bool) -> list[tuple[str, str]]:
    every = [
        ("curves", "Curves", shown["has_curves"]),
        ("figures", "Figures", True),
        ("augmentations", "Augmentation", has_sheet),
        ("errors", "Errors", shown["has_mistakes"]),
        ("calibration", "Calibration", shown["has_mistakes"]),
        ("robustness", "Robustness", shown["has_robustness"]),
        ("explained", "What it learnt", is_explained),
        ("network", "Network", True),
        ("config", "Config", True),
    ]
    return [(anchor, label) for anchor, label, is_there in every if is_there]
