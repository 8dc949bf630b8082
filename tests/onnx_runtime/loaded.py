"""ONNX Runtime as these tests load it: a skip where it is missing, a failure in the environment that is meant to have
it.
"""

from __future__ import annotations

import os

import pytest

from backends.interface.framework import Framework
from backends.registry import ONNX_RUNTIME


def framework() -> Framework:
    """The framework, for a whole file of tests."""
    try:
        return ONNX_RUNTIME.load_framework()
    except ImportError as error:
        if os.environ.get("TOX_ENV_NAME") == ONNX_RUNTIME.environment:
            raise
        pytest.skip(f"needs ONNX Runtime: {error}", allow_module_level=True)
