"""A W&B workspace for a study, as code: sections overfitting, effects, errors and cost, runs grouped by variant.

The names of its panels are those of `terrablate.training.logged`. Imports no torch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrablate.errors import UserError
from terrablate.study.evidence import Evidence, read_study

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

_VARIANT = "JobType"
"""What W&B calls the variant of a run."""
_EPOCH = "epoch"
_MANY = 1000
"""Runs that a panel shows: all that a study has."""


def save_workspace(study: Evidence | Path, entity: str, project: str) -> str:
    """Make the workspace on W&B's server, and return its address.

    Args:
        study: or its folder.
        entity: user or team on W&B.
        project: that the runs were logged to.

    Raises:
        UserError: if the package is not installed, or the server cannot be reached, or refuses.
    """
    workspace = workspace_of(study, entity, project)
    try:
        workspace.save()
        return str(workspace.url)
    except Exception as error:  # W&B's client fails in many ways: no login, no network, no such project
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"wandb={entity}/{project}: the workspace cannot be saved there: {reason}; `wandb login` logs in, and the"
            " project must hold the runs (logger=wandb, or `wandb sync` of their offline files)"
        ) from error


def workspace_of(study: Evidence | Path, entity: str, project: str) -> "Workspace":
    """The workspace; nothing is sent.

    Args:
        study: or its folder.
        entity: user or team on W&B.
        project: that the runs were logged to.

    Raises:
        UserError: if the package is not installed, a name is empty, or the folder holds no study.
    """
    if not (entity and project) or "/" in entity + project:
        raise UserError(f"wandb={entity}/{project}: expected entity/project, a user or team and its project")
    try:
        from wandb_workspaces import expr
        from wandb_workspaces import workspaces as ws
    except ImportError as error:
        raise UserError(
            "wandb-workspaces is not installed; it comes with the extra 'workspaces': uv sync --extra workspaces"
        ) from error
    evidence = read_study(study) if isinstance(study, Path) else study
    primary, nll = f"{evidence.which}/{evidence.metric}/val", f"{evidence.which}/nll/val"
    sections = {
        "overfitting": _overfitting(),
        "effects": _effects(evidence, primary, nll),
        "errors": _errors(evidence, primary),
        "cost": _cost(primary),
    }
    columns = [primary, nll, "overfitting/verdict", "overfitting/onset_epoch", "overfitting/gap_loss"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=_plain(evidence.name),
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        settings=ws.WorkspaceSettings(x_axis=_EPOCH, max_runs=_MANY, group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(
            filters=_filter(evidence),
            groupby=[expr.Metric(_VARIANT)],
            order=[expr.Ordering(expr.Summary(primary), ascending=False)],
            pinned_columns=[f"summary:{name}" for name in dict.fromkeys(columns)],
        ),
    )


def _overfitting() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        _lines("NLL of val and of probe: where they part, it overfits", ["nll/val", "nll/probe"], "nats"),
        _lines("accuracy of val and of probe", ["accuracy/val", "accuracy/probe"]),
        _lines("gap: val NLL minus probe NLL", ["gap/loss"], "nats"),
        _lines("gap: probe accuracy minus val accuracy", ["gap/accuracy"]),
        _lines("objective of training", ["objective/train"]),
        _bars("epoch of the onset, mean of the runs that have one", "overfitting/onset_epoch"),
        _bars("rise of val NLL after its minimum", "overfitting/excess_loss"),
        wr.MediaBrowser(title="curves of each run", media_keys=["pictures/curves"], num_columns=2),
    ]


def _effects(evidence: Evidence, primary: str, nll: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    factors = dict.fromkeys(factor for variant in evidence.variants for factor in variant.levels)
    keys = {"variant": "variant"}  # of a list of variants it is the one factor
    keys |= {factor: f"levels.{factor.replace('.', '_')}" for factor in factors if factor != "variant"}
    gap = "overfitting/gap_loss"
    columns = [
        *(wr.ParallelCoordinatesPlotColumn(wr.Config(key), name) for name, key in keys.items()),
        *(
            wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name), name)
            for name in dict.fromkeys((gap, nll, primary))
        ),
    ]
    return [
        _bars(f"{evidence.metric} of val by variant ({evidence.which} weights)", primary),
        _bars(f"NLL of val by variant ({evidence.which} weights)", nll),
        _bars("gap of NLL by variant", gap),
        wr.ParallelCoordinatesPlot(title="levels of the factors against what they give", columns=columns),
        wr.ScatterPlot(title="accuracy against gap", x=wr.SummaryMetric(gap), y=wr.SummaryMetric(primary)),
        wr.ScatterPlot(
            title="against the classical floor", x=wr.SummaryMetric("floor/accuracy"), y=wr.SummaryMetric(primary)
        ),
    ]


def _errors(evidence: Evidence, primary: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    columns = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    query = {"summaryTable": {"tableKey": "errors/confusion_table"}, "id": {}, "name": {}}
    chart = wr.CustomChart(
        query=query,
        chart_name="wandb/confusion_matrix/v1",
        chart_fields=columns,
        chart_strings={"title": "val images by true and predicted class"},
    )
    several = any((run.config.get("data") or {}).get("labels") == "several" for run in evidence.runs)
    return [
        *([] if several else [chart]),  # of several labels an image there is no one class that is taken for another
        wr.WeavePanelSummaryTable(table_name="errors/by_class"),
        wr.MediaBrowser(title="worst val images", media_keys=["errors/worst"], num_columns=4),
        _lines("calibration: expected calibration error of val", ["val/ece"]),
        wr.ScatterPlot(
            title="calibration against accuracy", x=wr.SummaryMetric(primary), y=wr.SummaryMetric("last/ece/val")
        ),
    ]


def _cost(primary: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    seconds, parameters = "cost/total_seconds", "cost/parameters"
    return [
        wr.ScatterPlot(
            title="accuracy against seconds", x=wr.SummaryMetric(seconds), y=wr.SummaryMetric(primary), log_x=True
        ),
        wr.ScatterPlot(
            title="accuracy against parameters", x=wr.SummaryMetric(parameters), y=wr.SummaryMetric(primary), log_x=True
        ),
        _bars("seconds of a run", seconds),
        _lines("images a second", ["cost/images_per_second"]),
        _lines("learning rate", ["optim/lr"]),
    ]


def _lines(title: str, metrics: list[str], unit: str | None = None) -> Any:
    """Mean over the seeds of a variant with the standard error, against the epoch."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=_EPOCH,
        y=list(metrics),
        title_x="epoch",
        title_y=unit,
        groupby=wr.Metric(_VARIANT),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_runs_to_show=_MANY,
        smoothing_type="none",
    )


def _bars(title: str, metric: str) -> Any:
    """Mean over the seeds of a variant with the standard error."""
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(
        title=title,
        metrics=[metric],
        groupby=wr.Metric(_VARIANT),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_runs_to_show=_MANY,
        max_bars_to_show=100,
    )


def _filter(evidence: Evidence) -> Any:
    """The runs of the study: those that it began, and those that it found done by another."""
    from wandb_workspaces import expr

    own = expr.Config("study.name") == evidence.name
    found = sorted(_shared(evidence))
    return expr.Or(own, expr.Metric("Name").isin(found)) if found else [own]


def _shared(evidence: Evidence) -> Iterator[str]:
    """Ids of the runs that were logged under another study, or under none."""
    for run in evidence.runs:
        if run.folder is not None and (run.config.get("study") or {}).get("name") != evidence.name:
            yield run.folder.name


def _plain(name: str) -> str:
    """Without characters that W&B refuses in names."""
    return "".join(letter for letter in name if ord(letter) < 0x2190).strip() or "study"
