"""One browser for all tests of a worker: Chromium without a window, pages opened from files as a user opens them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.content import Content
from benchmarks.report.page import render
from tests.benchmarks.made_up_run import made_up_content

CHROMIUM = os.environ.get("BIRNN_CHROMIUM") or shutil.which("chromium")
DRAWN = "html[data-drawn]"


@dataclass
class Shown:
    """The opened page, what it complained of, and what it asked for beyond itself."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def column(self, table: str, title: str) -> list[str]:
        """What sorts a column's cells, in the order shown."""
        position = 1 + next(
            index for index, name in enumerate(self.texts(f"{table} thead th")) if name.startswith(title)
        )
        cells = self.page.locator(f"{table} tbody tr:not([hidden]) td:nth-child({position})")
        return cells.evaluate_all("cells => cells.map((cell) => cell.dataset.sort)")

    def sort(self, table: str, title: str) -> None:
        self.page.locator(f"{table} thead th", has_text=title).first.click()
        self.page.wait_for_timeout(30)  # the sorting library waits one millisecond


def open_file(page: Any, file: Path) -> None:
    """Open a report, whose script first unpacks what it draws."""
    page.goto(file.as_uri())
    page.locator(DRAWN).wait_for(state="attached")


@pytest.fixture(scope="session")
def content() -> Content:
    return made_up_content()


@pytest.fixture(scope="session")
def opened(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    if CHROMIUM is None:
        pytest.skip("neither chromium on the path nor BIRNN_CHROMIUM")
    from playwright.sync_api import sync_playwright

    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render([content]), encoding="utf-8")
    with sync_playwright() as playwright:
        # As root, which containers are, Chromium does not start with its sandbox.
        home = {"HOME": str(tmp_path_factory.mktemp("home"))}  # where it writes settings, whatever it is told
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], env=os.environ | home)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        shown = Shown(page)
        page.on("console", lambda message: shown.complaints.append(message.text))
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))

        def guard(route: Any) -> None:
            if route.request.url == file.as_uri():
                route.continue_()
            else:
                shown.requests.append(route.request.url)
                route.abort()

        page.route("**/*", guard)
        open_file(page, file)
        yield shown
        browser.close()


@pytest.fixture
def shown(opened: Shown) -> Iterator[Shown]:
    """The page for a test that changes it: it is loaded again afterwards."""
    opened.complaints.clear()
    yield opened
    opened.page.reload()
    opened.page.locator(DRAWN).wait_for(state="attached")
