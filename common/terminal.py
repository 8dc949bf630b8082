"""Text from outside as it may be shown: no character of it drives a terminal, or turns what is read around."""

from __future__ import annotations

import re

CONTROLS = (
    (0x00, 0x08),
    (0x0B, 0x1F),
    (0x7F, 0x9F),
    (0x061C, 0x061C),
    (0x200E, 0x200F),
    (0x2028, 0x2029),
    (0x202A, 0x202E),
    (0x2066, 0x2069),
    (0xD800, 0xDFFF),
)
"""First and last of each range: C0 but for tab and newline, DEL and C1; the marks, embeddings, overrides and isolates
of the bidirectional algorithm (Unicode 15.1, UAX #9); separators that are taken for newlines; surrogates, which no
encoding can write."""
_CONTROL = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in CONTROLS) + "]")


def plain(text: str) -> str:
    r"""``text`` with every control character but tab and newline as its escape, such as ``\x1b`` or ``\u202e``."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)
