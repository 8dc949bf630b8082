"""Made-up backends in the place of all others, for a test."""

from __future__ import annotations

from functools import cache

import pytest

from backends import registry
from backends.registry import Backend


def register(monkeypatch: pytest.MonkeyPatch, *backends: Backend) -> None:
    """Let the registry hold these backends alone until the test ends."""
    loaded = registry._Loaded({backend.name: backend for backend in backends}, {})
    monkeypatch.setattr(registry, "_loaded", cache(lambda: loaded))
