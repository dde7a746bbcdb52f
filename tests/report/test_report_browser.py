"""The page of a study and of a run in a real, headless, offline Chromium."""

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fake_study_records import FakeStudy
from terrablate.report.command import write_run, write_study

SCRIPT = "<script>alert(1)</script>"
VARIANTS = ("none", "flip", SCRIPT, 'naïve, "größer" %{x} $y$', "breaks")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: neither chromium nor google-chrome is there")


PATIENCE = 240_000
"""Milliseconds; a page of five megabytes takes long to open where many processes share a core."""


@dataclass
class Opened:
    """A page, and what went wrong in it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def see(self, anchor: str) -> None:
        """Scroll through a section, and wait until each of its figures is drawn."""
        self.page.evaluate(
            """async (id) => {
              const section = document.getElementById(id);
              section.scrollIntoView();
              for (const plot of section.querySelectorAll('.plot')) {
                while (plot.isConnected && !plot.dataset.drawn) {
                  plot.scrollIntoView();
                  await new Promise((resolve) => setTimeout(resolve, 20));
                }
              }
              section.scrollIntoView();
            }""",
            anchor,
        )

    def text(self, selector: str) -> str:
        """Of an element."""
        return str(self.page.inner_text(selector))

    def check(self) -> None:
        """Nothing has complained, and nothing was asked of a network."""
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert len([url for url in self.requests if url.startswith("file:")]) == 1


type Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a study with odd names, failures and 3 classes, and that of one of its runs."""
    study = FakeStudy(
        tmp_path_factory.mktemp("browser"),
        question=f"Does {SCRIPT} help?",
        variants=VARIANTS,
        classes=("Forest", "<img src=x onerror=alert(2)>", "Sea & Lake"),
        ends={("breaks", 0): "failed", ("breaks", 1): "diverged", ("breaks", 2): "planned"},
        smallest_effect=0.02,
    )
    home = study.write()
    return {"study": write_study(home, home).page, "run": write_run(study.run_folder(1, 0), home / "one").page}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study of an ordered factor that was really trained."""
    from evaluations import write_study as train_study

    widths = {str(width): [f"model.width={width}"] for width in (4, 2, 8)}
    home = train_study(tmp_path_factory.mktemp("trained"), widths, range(2))
    return write_study(home, home).page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def open_page(browser: Any, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open a page offline, once for each size and colour scheme."""
    known: dict[Any, Opened] = {}

    def opening(which: str = "study", *, width: int = 1366, height: int = 768, dark: bool = False) -> Opened:
        key = (which, width, dark)
        if key in known:
            return known[key]
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, accept_downloads=True
        )
        context.set_default_timeout(PATIENCE)
        found = known[key] = Opened(context.new_page())
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", lambda dialog: found.complaints.append(f"dialog {dialog.message}"))
        found.page.on("request", lambda request: found.requests.append(request.url))
        page = request.getfixturevalue("trained") if which == "trained" else pages[which]
        found.page.goto(page.as_uri())
        found.page.wait_for_function("document.documentElement.dataset.ready === 'true'")
        return found

    yield opening
    for each in known.values():
        each.check()


@pytest.fixture
def laptop(open_page: Open) -> Iterator[Opened]:
    """The page of the study on a laptop, as it is when it has just been opened."""
    opened = open_page()
    opened.page.evaluate("scrollTo(0, 0)")
    yield opened
    opened.check()
    opened.page.evaluate(RESET)


RESET = """() => {
  document.getElementById('run').close();
  for (const button of document.querySelectorAll('#choice button')) if (button.textContent === 'all') button.click();
  const set = (node, key, value, kind) => {
    if (node[key] !== value) { node[key] = value; node.dispatchEvent(new Event(kind, {bubbles: true})); }
  };
  for (const id of ['effects', 'curves', 'errors', 'runs']) {
    for (const at of [0, 1, 2]) {
      const node = document.querySelectorAll(`#${id}-controls select`)[at];
      if (node) set(node, 'selectedIndex', 0, 'change');
    }
  }
  for (const node of document.querySelectorAll('main input[type=checkbox]')) set(node, 'checked', false, 'change');
  for (const node of document.querySelectorAll('input[type=search]')) set(node, 'value', '', 'input');
}"""


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


def test_light_and_dark_follow_the_system_and_the_button(open_page: Open) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    assert open_page().page.evaluate(background) == "rgb(255, 255, 255)"
    page = open_page(dark=True).page
    assert page.evaluate(background) == "rgb(20, 23, 27)"
    page.wait_for_selector("#forest[data-drawn]")
    colour = "document.getElementById('forest').layout.font.color"
    before = page.evaluate(colour)
    button = page.get_by_role("button", name="Change between light and dark")
    button.click()
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.evaluate(colour) != before
    button.click()
    assert page.evaluate(colour) == before


@pytest.mark.parametrize("which", ["study", "run"])
def test_a_phone_needs_no_sideways_scrolling(open_page: Open, which: str) -> None:
    opened = open_page(which, width=390, height=844)
    for anchor in opened.page.eval_on_selector_all("main section", "nodes => nodes.map(node => node.id)"):
        opened.see(anchor)
        assert opened.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert opened.page.locator("#answer").bounding_box()["y"] < 400


def test_every_figure_of_the_page_can_be_drawn(laptop: Opened) -> None:
    opened = laptop
    anchors = opened.page.eval_on_selector_all("main section", "nodes => nodes.map(node => node.id)")
    assert anchors == ["effects", "curves", "map", "errors", "calibration", "robustness", "runs"]
    for anchor in anchors:
        opened.see(anchor)
    assert opened.page.locator(".plot:not([data-drawn])").count() == 0


def test_print_is_light_and_opens_what_is_folded(open_page: Open) -> None:
    opened = open_page(dark=True)
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.locator("main details:not([open])").count() == 0
    assert opened.page.locator(".plot:not([data-drawn])").count() == 0
    opened.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert opened.page.locator("main details[open]").count() == 0


@pytest.mark.slow
def test_the_page_of_a_study_that_was_trained_is_whole(open_page: Open) -> None:
    opened = open_page("trained")
    for anchor in opened.page.eval_on_selector_all("main section", "nodes => nodes.map(node => node.id)"):
        opened.see(anchor)
    assert opened.page.locator(".plot:not([data-drawn])").count() == 0
    curve = opened.page.evaluate("document.querySelector('#responses .plot').data.map(trace => trace.x)")
    assert [2, 4, 8] in curve  # in order of the numbers, whatever the baseline is
    drawn = opened.page.evaluate("document.getElementById('confusion').data[0].z")
    assert [sum(row) for row in drawn if sum(row)] == pytest.approx([1] * sum(bool(sum(row)) for row in drawn))
    opened.page.locator("#runs tbody button").first.click()
    told = opened.text("#run")
    assert told.startswith("4, seed 0")
    assert "val NLL" in told  # its verdict, in a sentence of numbers


def test_the_page_of_a_run_shows_its_curves_mistakes_stages_and_config(open_page: Open) -> None:
    opened = open_page("run")
    anchors = opened.page.eval_on_selector_all("main section", "nodes => nodes.map(node => node.id)")
    assert anchors == ["curves", "figures", "errors", "calibration", "robustness", "network", "config"]
    for anchor in anchors:
        opened.see(anchor)
    assert opened.text("h1") == "run-v1-s0"
    assert "overfits, as made up" in opened.text("#answer")
    assert {"NLL", "accuracy", "gap of NLL"} <= set(opened.page.locator("#curves-panels h3").all_inner_texts())
    assert "25 %" in opened.text("#figures")
    assert "head" in opened.text("#network")
    assert "flip" in opened.text("#config")
