"""The W&B workspace of a study: its sections, and that each of its panels shows what a real offline run holds."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import compose_in
from terrablate.errors import UserError
from terrablate.study.evidence import Evidence, RunOf, VariantOf
from terrablate.study.workspace import save_workspace, workspace_of
from wandb_files import histories, started, summaries

LEVELS = {"aug": "flip", "optim.lr": "0.01"}


def evidence(runs: tuple[RunOf, ...] = (), **changed: Any) -> Evidence:
    given: dict[str, Any] = {
        "name": "my study", "question": "?", "design": "one_at_a_time", "metric": "accuracy", "which": "deployed",
        "smallest_effect": None, "planned_seeds": (0, 1), "aliases": (), "runs": runs,
        "variants": (VariantOf("baseline", {"aug": "none", "optim.lr": "0.001"}), VariantOf("aug=flip", LEVELS)),
    }  # fmt: skip
    return Evidence(**(given | changed))


def spec(study: Evidence | Path) -> dict[str, Any]:
    """What would be sent, as JSON has it."""
    model = workspace_of(study, "me", "mine")._to_model()
    return json.loads(json.dumps(model.model_dump(by_alias=True, exclude_none=True), default=str))


def sections(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = content["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in found}


def wanted(panel: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a panel shows: whether from history, summary or config, and its name."""
    config = panel["config"]
    match panel["viewType"]:
        case "Run History Line Plot":
            yield from (("history", name) for name in [*config["metrics"], config["xAxis"]])
        case "Bar Chart":
            yield from (("summary", name) for name in config["metrics"])
        case "Scatter Plot":
            yield from (tuple(config[axis].split(":", 1)) for axis in ("xAxis", "yAxis"))
        case "Parallel Coordinates Plot":
            yield from (tuple(column["accessor"].split(":", 1)) for column in config["columns"])
        case "Media Browser":
            yield from (("media", key) for key in config["mediaKeys"])
        case "Vega2":
            fields = config["userQuery"]["queryFields"][0]["fields"]
            assert all("fields" in field for field in fields)
            yield from (
                ("media", arg["value"])
                for field in fields
                for arg in field.get("args", ())
                if arg["name"] == "tableKey"
            )
        case "Weave":
            yield "media", config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]
        case other:
            raise AssertionError(other)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The offline files of a real run of two epochs."""
    from terrablate.training import floor
    from terrablate.training.run import run

    patch = pytest.MonkeyPatch()
    patch.setattr(floor, "TREES", 10)
    config = compose_in(
        tmp_path_factory.mktemp("workspace"),
        "model=small_cnn", "model.width=4", "epochs=2", "batch_size=16", "trainer=cpu", "trainer.threads=1",
        "data.train=40", "data.val=20", "data.test=20", "data.size=16", "aug=flip", "optim.lr=0.01",
        "logger=wandb", "logger.mode=offline", "study.name='my study'", "study.member.variant='aug=flip'",
        "study.member.levels={aug:flip,optim.lr:'0.01'}",
    )  # fmt: skip
    folder = run(config).folder
    patch.undo()
    (found,) = (folder / "wandb").glob("offline-run-*")
    return found


def test_every_panel_shows_what_a_real_run_holds(offline: Path) -> None:
    logged = {name for row in histories(offline) for name in row}
    media = {name.rpartition("/")[0] for name in logged if name.endswith("/_type")}
    config = {item.key: json.loads(item.value_json) for item in started(offline).config.update}
    summary = summaries(offline)
    shown = [each for panels in sections(spec(evidence())).values() for panel in panels for each in wanted(panel)]
    assert len(shown) > 30
    for kind, name in shown:
        match kind:
            case "history":
                assert name in logged
            case "media":
                assert name in media
            case "summary":
                assert name in summary
            case "config":
                first, *rest = name.split(".")
                assert rest.pop(0) == "value"
                value = config[first]
                for key in rest:
                    value = value[key]
                assert value in ("aug=flip", "flip", 0.01)
            case other:
                raise AssertionError(other)


def test_the_sections_stand_in_order_and_probe_and_val_in_one_panel() -> None:
    found = sections(spec(evidence()))
    assert list(found) == ["overfitting", "effects", "errors", "cost"]
    first = found["overfitting"][0]["config"]
    assert first["metrics"] == ["nll/val", "nll/probe"]
    assert (first["xAxis"], first["groupBy"], first["groupAgg"], first["groupArea"]) == (
        "epoch", "jobType", "mean", "stderr",
    )  # fmt: skip
    columns = next(p["config"]["columns"] for p in found["effects"] if p["viewType"] == "Parallel Coordinates Plot")
    assert [column["accessor"] for column in columns] == [
        "config:variant.value", "config:levels.value.aug", "config:levels.value.optim_lr",
        "summary:overfitting/gap_loss", "summary:deployed/nll/val", "summary:deployed/accuracy/val",
    ]  # fmt: skip
    assert [column["displayName"] for column in columns[:3]] == ["variant", "aug", "optim.lr"]


def test_a_list_of_variants_has_one_column_for_them() -> None:
    variants = (VariantOf("none", {"variant": "none"}), VariantOf("flip", {"variant": "flip"}))
    found = sections(spec(evidence(variants=variants, which="best", metric="kappa")))
    columns = next(p["config"]["columns"] for p in found["effects"] if p["viewType"] == "Parallel Coordinates Plot")
    assert [column["accessor"] for column in columns] == [
        "config:variant.value", "summary:overfitting/gap_loss", "summary:best/nll/val", "summary:best/kappa/val"
    ]  # fmt: skip


def test_a_study_of_nll_has_no_column_twice() -> None:
    content = spec(evidence(metric="nll"))
    columns = next(
        panel["config"]["columns"]
        for panel in sections(content)["effects"]
        if panel["viewType"] == "Parallel Coordinates Plot"
    )
    accessors = [column["accessor"] for column in columns]
    assert len(set(accessors)) == len(accessors)


def test_of_several_labels_there_is_no_confusion() -> None:
    def kinds(labels: str) -> list[str]:
        run = RunOf("baseline", 0, "complete", False, "", None, {}, {}, {"data": {"labels": labels}})
        return [panel["viewType"] for panel in sections(spec(evidence((run,))))["errors"]]

    assert "Vega2" in kinds("one")
    assert kinds("several") == [kind for kind in kinds("one") if kind != "Vega2"]


def test_runs_are_those_of_the_study_grouped_by_variant(tmp_path: Path) -> None:
    def run_of(name: str, study: str | None) -> RunOf:
        config = {"study": {"name": study}} if study else {}
        return RunOf("baseline", 0, "complete", False, "", tmp_path / name, {}, {}, config)

    (runs,) = spec(evidence((run_of("own", "my study"), run_of("shared", "another"), run_of("alone", None))))["spec"][
        "section"
    ]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["jobType"]
    filters = json.dumps(runs["filters"])
    assert "my study" in filters
    assert '["alone", "shared"]' in filters
    assert '"own"' not in filters
    (alone,) = spec(evidence((run_of("own", "my study"),)))["spec"]["section"]["runSets"]
    assert "displayName" not in json.dumps(alone["filters"])


def test_a_study_is_read_from_its_folder_and_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: odd 🚀 ünïts\nmetric: kappa\ndesign: list\nvariants: {a: []}\n")
    row = {"variant": "a", "seed": 0, "levels": {"variant": "a"}, "tuned": {}, "overrides": [], "digest": "d"}
    (tmp_path / "plan.json").write_text(json.dumps([row | {"added": False}]))
    content = spec(tmp_path)
    assert content["displayName"] == "odd  ünïts"
    assert "deployed/kappa/val" in json.dumps(content)
    with pytest.raises(UserError, match="is no study's folder"):
        workspace_of(tmp_path / "nowhere", "me", "mine")


def test_what_cannot_be_saved_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb_workspaces.workspaces import Workspace

    def refused(self: Workspace) -> None:
        raise ValueError("no API key\nfound")

    monkeypatch.setattr(Workspace, "save", refused)
    with pytest.raises(
        UserError, match=r"wandb=me/mine: the workspace cannot be saved there: no API key found; `wandb"
    ):
        save_workspace(evidence(), "me", "mine")
    for entity, project in (("", "mine"), ("me", ""), ("me", "mine/too")):
        with pytest.raises(UserError, match="expected entity/project"):
            save_workspace(evidence(), entity, project)


def test_what_was_saved_is_told_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb_workspaces.workspaces import Workspace

    saved: list[str] = []
    monkeypatch.setattr(Workspace, "save", lambda self: saved.append(self.name))
    monkeypatch.setattr(Workspace, "url", property(lambda self: f"https://wandb.ai/{self.entity}/{self.project}?nw=x"))
    assert save_workspace(evidence(), "me", "mine") == "https://wandb.ai/me/mine?nw=x"
    assert saved == ["my study"]


def test_a_missing_package_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match="uv sync --extra workspaces"):
        workspace_of(evidence(), "me", "mine")
