"""Text from outside as it may be shown: no character of it drives a terminal, or turns what is read around."""

from __future__ import annotations

import re

# C0 but for tab and newline, DEL and C1; marks, embeddings, overrides and isolates of the bidirectional algorithm
# (Unicode 15.1, UAX #9); separators that are taken for newlines; surrogates, which no encoding can write.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    r"""``text`` with every control character but tab and newline as its escape, such as ``\x1b`` or ``\u202e``."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)
