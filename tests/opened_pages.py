"""A page of a report that stands open in a headless, offline Chromium, and all that went wrong in it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

SCRIPT = "<script>alert(1)</script>"
VARIANTS = ("none", "flip", SCRIPT, 'naïve, "größer" %{x} $y$', "breaks")
"""Of a study with odd names."""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 240_000
"""Milliseconds; a page of five megabytes takes long to open where many processes share a core."""

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: neither chromium nor google-chrome is there"
)


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
"""Open the page of a study, or of a `run`, at a width, a height, and `dark` or not."""

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
"""Leaves a page of a study as it is when it has just been opened."""
