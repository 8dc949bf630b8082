"""ONNX Runtime: an environment that runs the graphs that birnn writes, for the proof of a conversion alone."""

from __future__ import annotations

from backends.interface.framework import Framework


def load() -> Framework:
    """Import ONNX Runtime and hand out the framework."""
    from backends.onnx_runtime.framework import OnnxRuntime

    return OnnxRuntime()
