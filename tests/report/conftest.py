"""What tests of the report share: pages that stand open in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opened_pages import CHROMIUM, PATIENCE, RESET, SCRIPT, VARIANTS, Open, Opened


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a study with odd names, failures and 3 classes, and that of one of its runs."""
    from fake_study_records import FakeStudy
    from terrablate.report.command import write_run, write_study

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
    from terrablate.report.command import write_study

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
