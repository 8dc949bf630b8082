"""Measured figures in the README and the docs: what stands between two markers is written by a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def replaced(page: Path, blocks: Mapping[str, str]) -> str:
    """A page's text with what stands between each pair of markers, ``<!-- NAME -->`` and ``<!-- /NAME -->``,
    replaced.
    """
    text = page.read_text()
    for name, block in blocks.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"{page.name} must have the markers {start.strip()} and {end}; it has not")
        head, _, rest = text.partition(start)
        text = f"{head}{start}{block}\n{end}{rest.partition(end)[2]}"
    return text
