"""For all tests: Ctrl-C means what it does in a shell, and output is as wide as without a terminal."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """pytest-xdist's workers ignore SIGINT, and what they start would, too (3.8.0): tests of Ctrl-C need it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("COLUMNS", None)  # pytest-xdist's workers have their controller's


@pytest.fixture(scope="session")
def hypothesis_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Hypothesis keeps what it notes while a test draws: without this, in the working folder."""
    from hypothesis.configuration import set_hypothesis_home_dir

    folder = tmp_path_factory.mktemp("hypothesis")
    set_hypothesis_home_dir(folder)
    return folder
