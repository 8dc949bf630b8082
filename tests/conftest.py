"""For all tests: Ctrl-C means what it does in a shell."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """pytest-xdist's workers ignore SIGINT, and what they start would, too (3.8.0): tests of Ctrl-C need it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
