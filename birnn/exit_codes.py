"""Exit codes: what a command's end tells the shell, the same for every command; docs/exit-codes.md has the table."""

from __future__ import annotations

AGREED = 0
"""All is well, and something was checked."""
WRONG = 1
"""Something disagrees, fails, crashes, times out, or is slower than was allowed."""
BAD_INPUT = 2
"""Bad input, or an environment that does not work or was asked for by name and is not there."""
NOTHING_CHECKED = 3
"""Nothing went wrong, and nothing, or not everything that ran, could be told to be right."""
INTERNAL_ERROR = 4
"""A fault of birnn's own; the traceback is in a file whose path is said."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 + SIGINT."""
READER_GONE = 141
"""Whoever read the output has gone, as in ``birnn verify | head``: 128 + SIGPIPE."""


def decide(*, wrong: bool, broken: bool, checked: bool) -> int:
    """The code of a command that came to its end.

    ``wrong`` whether anything went wrong, ``broken`` whether an environment did not work, ``checked`` whether something
    was checked and nothing of it was left open. What went wrong is told before what could not be tried, and that before
    what there was nothing of.
    """
    if wrong:
        return WRONG
    if broken:
        return BAD_INPUT
    return AGREED if checked else NOTHING_CHECKED
