"""The page of a study on a laptop, in a real, headless, offline Chromium: what a person sees, clicks and downloads."""

import csv
import io
from pathlib import Path

import pytest

from opened_pages import SCRIPT, VARIANTS, Opened, needs_chromium

pytestmark = needs_chromium


def test_question_answer_and_forest_stand_on_the_first_screen_of_a_laptop(laptop: Opened) -> None:
    opened = laptop
    opened.page.wait_for_selector("#forest[data-drawn]")
    for selector in ("h1", "#answer", "#forest"):
        assert opened.page.locator(selector).bounding_box()["y"] < 600
    assert opened.page.locator("#answer").bounding_box()["y"] + 60 < 768
    assert opened.text("h1") == f"Does {SCRIPT} help?"
    assert "flip" in opened.text("#answer")
    assert "15 runs: 12 complete, 1 failed, 1 diverged, 1 not ended yet" in opened.text(".facts")
    names = opened.page.eval_on_selector_all("#forest .ytick text", "nodes => nodes.map(node => node.textContent)")
    assert set(names) == {"flip", SCRIPT, VARIANTS[3]}


def test_the_metric_of_the_forest_can_be_switched(laptop: Opened) -> None:
    opened = laptop
    opened.page.wait_for_selector("#forest[data-drawn]")
    title = "#forest .xtitle"
    assert opened.page.text_content(title) == "difference of val accuracy, points"
    points = "document.getElementById('forest').data.at(-1).x"
    before = opened.page.evaluate(points)
    opened.page.get_by_label("Metric").first.select_option("nll")
    opened.page.wait_for_function(f"document.querySelector('{title}').textContent.includes('NLL')")
    assert opened.page.evaluate(points) != before
    assert "Exploratory" in opened.text("#effects-caption")


def test_hovering_shows_the_numbers_of_an_effect_and_of_a_curve(laptop: Opened) -> None:
    opened = laptop
    opened.page.wait_for_selector("#forest[data-drawn]")
    opened.page.locator("#forest .scatterlayer .trace").last.locator("path.point").first.hover(force=True)
    shown = opened.page.wait_for_selector("#forest .hoverlayer .hovertext").text_content()
    assert "95 % interval" in shown
    assert "3 seeds" in shown
    opened.see("curves")
    box = opened.page.locator("#curves-panels .plot").first.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5)
    opened.page.wait_for_selector("#curves-panels .hoverlayer .hovertext")
    texts = opened.page.eval_on_selector_all("#curves-panels .hovertext", "nodes => nodes.map(n => n.textContent)")
    assert any("val" in text and "3 seeds" in text for text in texts)
    assert any("probe" in text for text in texts)


def test_variants_can_be_chosen_for_all_figures(laptop: Opened) -> None:
    opened = laptop
    opened.see("curves")
    titles = "#curves-panels h3"
    assert opened.page.locator(titles).all_inner_texts() == list(VARIANTS)
    opened.page.click("#chooser > button")
    opened.page.get_by_role("button", name="baseline only").click()
    assert opened.page.locator(titles).all_inner_texts() == ["none"]
    opened.page.get_by_label("Find a variant").fill("GRÖ")
    assert opened.page.locator("#choice li:visible").count() == 1
    opened.page.locator("#choice li:visible input").check()
    assert opened.page.locator(titles).all_inner_texts() == ["none", VARIANTS[3]]
    assert opened.text("#chooser > button") == "Variants 2/5"
    opened.page.keyboard.press("Escape")
    opened.page.get_by_label("chosen variants only").check()
    assert opened.page.locator("#runs-table tbody tr:visible").count() == 6


def test_curves_show_single_seeds_and_all_variants_in_one(laptop: Opened) -> None:
    opened = laptop
    opened.see("curves")
    traces = "document.querySelector('#curves-panels .plot').data.length"
    before = opened.page.evaluate(traces)
    opened.page.get_by_label("single seeds").check()
    opened.see("curves")
    assert opened.page.evaluate(traces) == before + 2
    opened.page.get_by_label("Layout").select_option("one")
    opened.see("curves")
    assert opened.page.locator("#curves-panels .plot").count() == 1
    opened.page.locator("#curves-controls").get_by_label("Metric").select_option("gap_accuracy")
    opened.see("curves")
    assert "gap of accuracy" in opened.page.text_content("#curves-panels .ytitle")


def test_a_point_of_the_map_and_a_row_of_the_table_open_the_run(laptop: Opened, pages: dict[str, Path]) -> None:
    opened = laptop
    opened.see("map")
    opened.page.locator("#map-plot .scatterlayer .trace").nth(2).locator("path.point").first.click(force=True)
    opened.page.wait_for_selector("#run[open]")
    assert opened.text("#run-title") == f"{SCRIPT}, seed 0"
    opened.page.wait_for_selector("#run .plot[data-drawn]")
    assert "fits" in opened.text("#run")
    assert "aug.name" in opened.text("#run")
    link = opened.page.locator("#run a", has_text="config.yaml").get_attribute("href")
    assert (pages["study"].parent / link).is_file()
    opened.page.get_by_role("button", name="Close").click()
    opened.see("runs")
    opened.page.get_by_role("button", name="Open breaks, seed 0").click()
    assert "RuntimeError: <b>out</b> of luck" in opened.text("#run")


def test_the_table_is_filtered_sorted_and_downloaded_as_it_stands(laptop: Opened) -> None:
    opened = laptop
    opened.see("runs")
    opened.page.get_by_label("Filter the runs").fill("flip")
    assert "3 of 15 runs" in opened.text("#runs-caption")
    opened.page.get_by_role("button", name="val accuracy", exact=True).click()
    with opened.page.expect_download() as downloading:
        opened.page.click("#runs-csv")
    rows = list(csv.DictReader(io.StringIO(Path(downloading.value.path()).read_text(encoding="utf-8"))))
    assert [row["variant"] for row in rows] == ["flip"] * 3
    accuracies = [float(row["deployed.accuracy/val"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies == pytest.approx([0.66, 0.65, 0.63])
    opened.page.get_by_label("Filter the runs").fill("")
    opened.page.get_by_label("Status").select_option("failed")
    assert opened.page.locator("#runs-table tbody tr:visible").count() == 1


def test_effects_are_downloaded_in_three_formats(laptop: Opened, pages: dict[str, Path]) -> None:
    opened = laptop
    for name, sign in (("Effects as CSV", "comparison,flip"), ("LaTeX", "tabular"), ("Markdown", "| flip |")):
        with opened.page.expect_download() as downloading:
            opened.page.get_by_role("button", name=name, exact=True).click()
        text = Path(downloading.value.path()).read_text(encoding="utf-8")
        assert sign in text
    assert (pages["study"].parent / "effects.csv").is_file()


def test_mistakes_follow_the_chosen_variant(laptop: Opened) -> None:
    opened = laptop
    opened.see("errors")
    opened.page.locator("#errors").get_by_label("Variant").select_option(SCRIPT)
    size = "document.getElementById('confusion').data[0].z"
    before = opened.page.evaluate(size)
    assert [sum(row) for row in before] == pytest.approx([1, 1, 1])
    opened.page.locator("#errors").get_by_label("Variant").select_option("flip")
    opened.page.get_by_label("difference to the baseline").check()
    difference = opened.page.evaluate(size)
    assert [sum(row) for row in difference] == pytest.approx([0, 0, 0], abs=1e-9)
    assert any(abs(cell) > 0.01 for row in difference for cell in row)
    assert opened.page.locator("#gallery img").count() > 0
    assert opened.page.evaluate("[...document.querySelectorAll('#gallery img')].every(i => i.naturalWidth > 0)")
    assert "<img src=x onerror=alert(2)>" in opened.text("#top-confusions") + opened.text("#gallery")


def test_every_figure_of_the_page_can_be_drawn(laptop: Opened) -> None:
    opened = laptop
    anchors = opened.page.eval_on_selector_all("main section", "nodes => nodes.map(node => node.id)")
    assert anchors == ["effects", "curves", "map", "errors", "calibration", "robustness", "runs"]
    for anchor in anchors:
        opened.see(anchor)
    assert opened.page.locator(".plot:not([data-drawn])").count() == 0
