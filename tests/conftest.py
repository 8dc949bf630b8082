"""For all tests: Ctrl-C means what it does in a shell, and output is as wide as without a terminal."""

from __future__ import annotations

import os
import signal


def pytest_configure() -> None:
    """pytest-xdist's workers ignore SIGINT, and what they start would, too (3.8.0): tests of Ctrl-C need it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("COLUMNS", None)  # pytest-xdist's workers have their controller's
