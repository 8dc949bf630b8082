"""Runs as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from string import Template
from typing import Any

from benchmarks.report.content import Content
from benchmarks.report.data import ASSETS, compressed, data_of, packed
from common.terminal import plain

SCRIPTS = ("unpack.js", "sortable.js", "page.js", "answer.js", "tables.js", "charts.js")
"""The page's scripts, which are one module in this order."""
LIBRARY = ASSETS / "plotly-basic.min.js"
"""plotly.js-basic-dist-min 4.1.1 from npm, as it is there, with its licence beside it."""


def render(contents: Sequence[Content]) -> str:
    """The page of one or several runs, which it shows one at a time."""
    return page_of(data_of(contents))


def page_of(data: dict[str, Any], library: str = "") -> str:
    """The page that shows ``data``; it carries the library that draws its charts, unless ``library`` says where, seen
    from the page, that lies.
    """
    day = datetime.fromisoformat(max(run["started"] for run in data["runs"]))
    title = html.escape(f"birnn benchmark, {day.day} {day:%B %Y}")
    parts = {
        "title": title,
        "warnings": "\n".join(
            _banner(kind, f"Run {run['run']}: {text}" if len(data["runs"]) > 1 else text)
            for run in data["runs"]
            for kind, text in run["warnings"]
        ),
        "summaries": "\n".join(_summary(*run["summary"]) for run in data["runs"]),
        "style": _asset("report.css"),
        "content": packed(data),
        "scripts": "\n".join(_asset(name) for name in SCRIPTS),
        # A page that is a file has no origin of its own.
        "elsewhere": " 'self' file:" if library else "",
        "licence": _asset("plotly-basic.LICENSE"),
        "library": f'data-src="{html.escape(library)}">' if library else f">{_library()}",
    }
    return Template(_asset("report.html")).substitute(parts)


def _banner(kind: str, text: str) -> str:
    """A warning as an HTML paragraph; ``kind`` is its class in report.css."""
    return f'<p class="{kind}" role="alert">{html.escape(plain(text))}</p>'


def _summary(first: str, rest: str) -> str:
    """What was measured in HTML: a sentence, which opens to show the rest."""
    return f'<details class="lead"><summary>{html.escape(plain(first))}</summary> {html.escape(plain(rest))}</details>'


def _asset(name: str) -> str:
    """The text of a file in ``ASSETS``."""
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """The library that draws the charts, compressed once in a process."""
    return compressed(LIBRARY.read_bytes())
