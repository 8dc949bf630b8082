"""What the site makes of the pages: links into the checkout, which it has not, become the paths that they lead to."""

from __future__ import annotations

import re
from typing import Any

FETCHED = re.compile(r'<script src="https?://[^"]*"></script>')
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with every link that leaves docs/ as its text and the path in the checkout."""
    return OUTSIDE.sub(lambda link: link[1] if link[2].rstrip("/") in link[1] else f"{link[1]} (`{link[2]}`)", markdown)


def on_post_page(output: str, **_: Any) -> str:
    """The page without scripts from the network, such as what the search needs where the page is opened from a file."""
    return FETCHED.sub("", output)
