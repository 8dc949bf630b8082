"""The built site, served from its folder to a real browser: `tox run -e docs` builds it first."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SITE = Path(os.environ.get("BIRNN_SITE", Path(__file__).resolve().parents[2] / "out" / "site"))
CHROMIUM = os.environ.get("BIRNN_CHROMIUM") or shutil.which("chromium")
PAGES = sorted(page.name for page in SITE.glob("*.html") if page.name != "404.html")


def test_every_page_is_there() -> None:
    docs = SITE.parents[1] / "docs" if "BIRNN_SITE" not in os.environ else Path(__file__).resolve().parents[2] / "docs"
    assert {page.stem for page in docs.glob("*.md")} == {page.removesuffix(".html") for page in PAGES}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is served; from a file the search would have no worker."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("neither chromium on the path nor BIRNN_CHROMIUM")
    from playwright.sync_api import sync_playwright

    home = {"HOME": str(tmp_path_factory.mktemp("home"))}
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], env=os.environ | home)
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_a_network_and_is_no_wider_than_the_window(
    browser: Any, address: str, name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/{name}")
    assert page.locator("h1").count() == 1
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


def test_what_is_searched_for_is_found(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.locator(".md-search__input").fill("yardstick")
    page.locator(".md-search-result__item").first.wait_for(timeout=10_000)
    assert "yardstick" in page.locator(".md-search-result__list").inner_text().lower()
    page.close()


def test_the_reference_has_every_name_of_the_api(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/reference.html")
    text = page.inner_text("article")
    for name in ("verify", "make_case", "assert_agrees", "judge", "reference", "read_case", "initialise"):
        assert name in text
    page.close()
