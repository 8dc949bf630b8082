"""The made-up backends of these tests, registered for their duration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backends.registry import Backend


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Register these backends, and these alone, until the test ends."""

    def register(*found: Backend) -> None:
        table = {backend.name: backend for backend in found}
        for module in (
            "backends.pool.selection",
            "backends.studies.sources",
            "backends.pool.schedule",
            "backends.studies.probes",
        ):
            monkeypatch.setattr(f"{module}.backends", lambda: table)

    return register
