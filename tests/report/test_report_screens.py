"""Pages in a real, headless, offline Chromium: light and dark, on a phone, in print, of a real study, of one run."""

import pytest

from opened_pages import Open, needs_chromium

pytestmark = needs_chromium


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
