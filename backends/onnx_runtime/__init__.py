"""ONNX Runtime: the graphs that birnn writes, run forward, in verify, bench and the proof of a conversion."""

from __future__ import annotations

from backends.interface.framework import Framework


def load() -> Framework:
    """Import ONNX Runtime and hand out the framework."""
    from backends.onnx_runtime.framework import OnnxRuntime

    return OnnxRuntime()
