"""For all tests: Ctrl-C means what it does in a shell, output is as wide as without a terminal, workers are forked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.forked_starts import Nursery, Process

FORKED = ("api", "attacks", "benchmarks", "command_line", "workers")
"""The rooms whose tests fork their workers and calculators."""
STARTED = ("tests/workers/test_pool.py",)
"""Tests in these rooms that are about starts and ends."""
STARTING = Lock()
"""Held by the thread that starts the process that forks."""


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


@pytest.fixture(scope="session")
def nurseries() -> Iterator[list[Nursery]]:
    """The process that forks, once there is one."""
    opened: list[Nursery] = []
    yield opened
    for nursery in opened:
        nursery.close()


@pytest.fixture(autouse=True)
def _forked_starts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, nurseries: list[Nursery]) -> None:
    """Fork workers and calculators, where a forked one is what a started one would be."""
    file = request.node.nodeid.partition("::")[0]
    if sys.platform != "linux" or file.split("/")[1] not in FORKED or file in STARTED:
        return
    from backends.pool import lifetime

    start = lifetime.start

    def fork(command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> Process:
        from tests.forked_starts import Nursery

        with STARTING:
            nurseries[:] = nurseries or [Nursery()]
        if nurseries[0].can_start(command, environment):
            return nurseries[0].start(command, log, environment)
        return start(command, log, environment)

    monkeypatch.setattr(lifetime, "start", fork)
