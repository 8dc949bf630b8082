"""The made-up backends of these tests, registered for their duration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.registered import register


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Register these backends, and these alone, until the test ends."""

    return partial(register, monkeypatch)
