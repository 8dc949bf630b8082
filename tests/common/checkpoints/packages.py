"""The packages of the extra ``convert``: a skip where they are missing, a failure where they are meant to be."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

MISSING = [name for name in ("h5py", "msgpack", "onnx", "tensorstore") if find_spec(name) is None]


def require_packages() -> None:
    """Skip a whole file of tests, or fail in tox's own environment."""
    if MISSING and os.environ.get("TOX_ENV_NAME") == "core":
        pytest.fail(f"the extra convert must be installed; missing: {MISSING}")
    if MISSING:
        pytest.skip(f"needs the extra convert: {MISSING}", allow_module_level=True)
