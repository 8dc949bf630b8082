"""A backend outside birnn's repository: bidirectional RNNs as a loop in NumPy; this file imports no framework."""

from backends.interface.framework import Framework
from backends.registry import Backend

BACKEND = Backend(name="numpy", load="birnn_numpy_loop:load")
"""``environment`` is left out: the framework, NumPy, is in the environment that runs the command."""


def load() -> Framework:
    """Import the framework and describe it."""
    from birnn_numpy_loop.framework import NumPy

    return NumPy()
