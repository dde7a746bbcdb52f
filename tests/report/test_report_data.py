"""What a page is made from: records, mistakes, curves, pictures, words, figures."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fake_study_records import FakeStudy
from terrablate.report import effect_views, facts, names
from terrablate.report.average import ends, mean_curve
from terrablate.report.curves import Curves
from terrablate.report.figures import draw_curves, draw_effects, shown_in_curves
from terrablate.report.mistakes import BINS, Mistakes, gallery, suspected
from terrablate.report.page import embedded, plotly
from terrablate.report.payload import payload
from terrablate.report.pictures import Pictures
from terrablate.report.records import Predictions, Records
from terrablate.report.running import RUNNING, with_running
from terrablate.study.effects import Effect
from terrablate.study.evidence import read_study

CLASSES = ("a", "b", "c")


def predictions(probabilities: list[list[float]], labels: Any) -> Predictions:
    count = len(probabilities)
    return Predictions(tuple(f"i{n}" for n in range(count)), np.asarray(labels), np.asarray(probabilities))


# --- mistakes


def test_confusions_are_added_up_over_runs() -> None:
    found = Mistakes(CLASSES, several=False)
    assert found.add(predictions([[0.9, 0.1, 0], [0.8, 0.1, 0.1]], [0, 1]))
    assert found.add(predictions([[0.2, 0.7, 0.1], [0.1, 0.8, 0.1]], [0, 1]))
    assert found.counts.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.runs == 2
    assert found.bins[:, 2].sum() == 4
    assert found.to_dict()["places"] == [0, 1, 3, 4]


def test_predictions_of_other_classes_are_refused() -> None:
    found = Mistakes(CLASSES, several=False)
    assert not found.add(predictions([[0.5, 0.5]], [0]))
    assert not found.add(predictions([[0.5, 0.5, 0]], [7]))
    assert found.runs == 0


def test_calibration_error_is_that_of_guo() -> None:
    found = Mistakes(("a", "b"), several=False)
    found.add(predictions([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2, [0, 0, 0, 1, 1, 0]))
    assert found.ece == pytest.approx([(4 * abs(0.9 - 0.75) + 2 * abs(0.6 - 0.5)) / 6])
    assert found.bins[math.ceil(0.9 * BINS) - 1].tolist() == pytest.approx([3.6, 3, 4])


def test_several_labels_count_each_answer() -> None:
    found = Mistakes(("a", "b"), several=True)
    found.add(predictions([[0.9, 0.8], [0.2, 0.4]], [[1, 0], [0, 1]]))
    assert found.counts.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]
    assert found.worst(["i0", "i1"])[0] == {
        "id": "i0", "label": "a", "predicted": "a, b", "wrong": 1, "runs": 1, "confidence": 0.8,
    }  # fmt: skip


def test_many_classes_are_stored_by_place() -> None:
    found = Mistakes(tuple(map(str, range(100))), several=False)
    found.add(Predictions(("x",), np.asarray([3]), np.eye(100)[[7]]))
    content = found.to_dict()
    assert (content["counts"], content["places"], content["values"]) == (None, [307], [1])


def test_the_gallery_prefers_what_most_runs_get_wrong_and_keeps_to_its_bytes(tmp_path: Path) -> None:
    found = Mistakes(CLASSES, several=False)
    found.add(predictions([[0, 0.9, 0.1], [0.0, 0.99, 0.01], [1, 0, 0]], [0, 0, 0]))
    found.add(predictions([[0, 0.9, 0.1], [0.9, 0.0, 0.1], [1, 0, 0]], [0, 0, 0]))
    items = []
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        items.append((tmp_path, {"file": f"{number}.png", "id": f"i{number}"}))
    pictures = Pictures(10_000)
    shown = gallery({"v": found, "other": found}, {"v": items}, pictures)
    assert [item["id"] for item in shown["v"]] == ["i0", "i1"]
    assert shown["v"][0] | {"picture": ""} == {
        "id": "i0", "label": "a", "predicted": "b", "wrong": 2, "runs": 2, "confidence": 0.9, "picture": "",
    }  # fmt: skip
    assert len(pictures.uris) == 2  # though two variants show them
    assert all(uri.startswith("data:image/png;base64,") for uri in pictures.uris.values())
    few = Pictures((tmp_path / "0.png").stat().st_size)
    assert len(gallery({"v": found}, {"v": items}, few)["v"]) == 1
    assert few.refused == 1


def test_suspects_are_ranked_by_the_runs_that_suspect_them() -> None:
    one = {"id": "x", "given": "a", "suggested": "b"}
    found = suspected([[one, {"id": "y", "given": "a", "suggested": "c"}], [one], [one | {"suggested": "c"}]])
    assert found[0] == {"id": "x", "given": "a", "suggested": "b", "runs": 3, "of": 3}
    assert [item["id"] for item in found] == ["x", "y"]


# --- records


def test_a_damaged_file_is_named_and_costs_itself_only(tmp_path: Path) -> None:
    study = FakeStudy(tmp_path)
    home = study.write()
    folder = study.run_folder(0, 0)
    (folder / "metrics.csv").write_text("epoch,nll/val\n1,x\n2,y\n")
    (folder / "val_predictions.npz").write_bytes(b"PK\x03\x04 no zip")
    (folder / "worst" / "index.json").write_text("{")
    (folder / "robustness.json").write_bytes(b"\xff\xfe")
    records = Records()
    data = payload(read_study(home), (), records, home, Pictures(10**6))
    assert sorted(records.problems) == [
        "run-v0-s0/metrics.csv is damaged and was left out",
        "run-v0-s0/robustness.json is damaged and was left out",
        "run-v0-s0/val_predictions.npz is damaged and was left out",
        "worst/index.json is damaged and was left out",
    ]
    assert data["runs"][0]["curve"] is None
    assert data["runs"][1]["curve"] is not None
    assert data["mistakes"]["none"]["runs"] == 2


def test_a_picture_outside_of_the_record_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "worst").mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    outside = [{"file": "../secret.png", "id": "x"}, {"file": str(tmp_path / "secret.png"), "id": "y"}]
    (folder / "worst" / "index.json").write_text(json.dumps(outside))
    assert Records().worst(folder) == []


def test_a_row_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,lr,nll/val,gap/loss\n1,0.1,0.5,0.1\n2,0.1,,\n3,0.1,nan,0.1\n4,0")
    records = Records()
    assert records.curves(tmp_path) == {"epoch": [1, 3], "nll/val": [0.5, None], "gap/loss": [0.1, 0.1]}
    assert records.problems == []


def test_a_run_that_is_being_trained_is_found_beside_the_others(tmp_path: Path) -> None:
    study = FakeStudy(tmp_path, ends={("flip", 1): "planned", ("flip", 2): "planned"})
    home = study.write()
    folder = tmp_path / "runs" / "now"
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch,nll/val\n1,0.5\n")
    (folder / "config.yaml").write_text("seed: 1\nstudy: {name: fake, member: {variant: flip}}\n")
    runs = {(run.variant, run.seed): run for run in with_running(read_study(home)).runs}
    assert (runs["flip", 1].status, runs["flip", 1].folder) == (RUNNING, folder)
    assert runs["flip", 2].status == "missing"


# --- curves


def test_curves_are_rounded_and_epochs_are_stored_once() -> None:
    curves = Curves()
    columns = {"epoch": [1.0, 3.0], "nll/val": [0.123456, None], "gap/loss": [0.1, 0.2]}
    assert curves.add(columns) == {"e": 0, "m": {0: [0.1235, None]}}
    assert curves.add(columns | {"nll/probe": [1.0, 2.0]}) == {"e": 0, "m": {0: [0.1235, None], 1: [1.0, 2.0]}}
    assert (curves.epochs, curves.names) == ([[1, 3]], ["nll/val", "nll/probe"])
    assert curves.add({}) is None


def test_a_mean_curve_goes_as_far_as_all_seeds_that_ended_well() -> None:
    def run(place: int, status: str, values: list[float | None]) -> dict[str, Any]:
        return {"v": 0, "status": status, "curve": {"e": place, "m": {0: values}}, "x": [2, 2 if place else None]}

    data = {
        "curveNames": ["nll/val"],
        "epochs": [[1, 2, 3], [1, 2]],
        "columns": [{"key": "best_epoch"}, {"key": "onset_epoch"}],
        "runs": [run(0, "complete", [1.0, 0.5, 0.4]), run(1, "complete", [2.0, 1.5]), run(1, "diverged", [9.0, None])],
    }
    found = mean_curve(data, 0, "nll/val")
    assert found is not None
    assert (found.epochs, found.mean, found.low, found.high, found.runs) == ([1, 2], [1.5, 1.0], [1, 0.5], [2, 1.5], 2)
    assert mean_curve(data, 0, "nll/probe") is None
    assert [(end.epoch, end.value, end.is_onset) for end in ends(data, 0)] == [(2, 0.5, False), (2, 1.5, True)]


# --- words


def test_numbers_are_written_for_readers() -> None:
    assert names.number(-0.3456, 2) == "−0.35"
    assert names.number(-0.0001, 2, signed=True) == "0.00"
    assert names.number(float("nan")) == ""
    assert names.difference("accuracy", 0.051) == "+5.1"
    assert names.interval("nll", -0.1, 0.25) == "−0.100 to 0.250"
    assert names.metric("accuracy (best)").label == "accuracy (best)"
    assert facts.duration(3900) == "1 h 05 min"


def test_markdown_cells_hold_no_markup() -> None:
    text = effect_views.markdown_table(("name", "n"), [["<script>|`x`_\n*", "1"]])
    assert text.splitlines()[-1] == r"| \<script\>\|\`x\`\_ \* | 1 |"


def test_embedded_data_can_neither_close_their_tag_nor_hold_a_nan() -> None:
    text = embedded({"</script><!--": [float("nan"), float("inf"), 1.5], "&": "\u2028"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"</script><!--": [None, None, 1.5], "&": "\u2028"}


def test_the_script_of_plotly_cannot_close_its_tag() -> None:
    assert "</script" not in plotly()


def test_the_primary_effects_are_those_of_the_design() -> None:
    rows = (
        Effect(kind="comparison", name="b", role="primary", estimate=0.1),
        Effect(kind="main_effect", name="aug", factor="aug", level="flip", role="primary", estimate=0.2),
        Effect(kind="main_effect", name="aug", factor="aug", level="flip", role="primary", seeds="all", estimate=0.3),
        Effect(kind="main_effect", name="aug", metric="nll", role="primary", estimate=0.2),
    )
    assert effect_views.primary(rows, "accuracy") == [rows[1]]
    assert effect_views.primary(rows[:1], "accuracy") == [rows[0]]
    assert effect_views.title_of(rows[1]) == "aug: flip"
    assert effect_views.needed(Effect(kind="comparison", name="b", seeds_needed=math.inf)).startswith("over ")


def test_test_openings_are_counted(tmp_path: Path) -> None:
    records = Records()
    assert facts.openings(tmp_path, records)[0] == "test split never opened"
    (tmp_path / "test_openings.csv").write_text("time,study\n1,a\n")
    assert facts.openings(tmp_path, records)[0] == "test split opened once"
    (tmp_path / "test_openings.csv").write_text("time,study\n1,a\n2,a\n3,a\n")
    assert facts.openings(tmp_path, records)[0] == "test split opened 3 times"


# --- figures


def test_figures_take_names_as_they_are(tmp_path: Path) -> None:
    study = FakeStudy(tmp_path, variants=("none", "$x_1$ <b>", "naïve" * 20))
    evidence = read_study(study.write())
    data = payload(evidence, (), Records(), tmp_path, Pictures(0))
    pictures = draw_curves(data, [0, 1, 2])
    assert pictures["png"].startswith(b"\x89PNG")
    assert b"<svg" in pictures["svg"]
    rows = [
        Effect(kind="comparison", name=name, baseline="none", estimate=0.01 * rank, low=-0.1, high=0.1, verdict="helps")
        for rank, name in enumerate(["$x_1$ <b>", "naïve" * 20])
    ]
    assert draw_effects(rows, "none")["svg"] == draw_effects(rows, "none")["svg"]  # the same from the same


def test_curves_show_the_baseline_and_the_largest_effects() -> None:
    variants = [f"v{number}" for number in range(30)]
    rows = [Effect(kind="comparison", name=name, estimate=(-1) ** n * n / 100) for n, name in enumerate(variants)]
    assert shown_in_curves(rows, variants) == [0, *range(19, 30)]
