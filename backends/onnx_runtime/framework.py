"""ONNX Runtime's facts and settings; read beside the frameworks' framework.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.framework import Framework, check_lane
from backends.interface.int8 import Int8Offer
from backends.interface.layer import Implementation
from backends.interface.probe import Probes
from backends.onnx_runtime.gaps import GAPS
from backends.onnx_runtime.native import Native
from backends.onnx_runtime.sessions import BoundRun, one_operator, open_session
from common.judging.precision import numpy_dtype
from common.specification import Specification

COPIED_WIDTH = 2**16
"""Bytes in a row of what is copied."""


class OnnxRuntime(Framework):
    """ONNX Runtime on the CPU, forward only."""

    name = "onnxruntime"
    gaps = GAPS
    implementations: Mapping[str, type[Implementation]] = {"native": Native}

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}

    def devices(self) -> dict[str, str]:
        return {"cpu": "CPUExecutionProvider"}

    def use_lane(self, lane: str) -> None:
        """Nothing to switch: the lanes differ on GPUs alone."""
        check_lane(lane)

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        kind = numpy_dtype(dtype)
        random = np.random.default_rng(0)
        inputs = {name: random.random((size, size)).astype(kind) for name in ("x0", "x1")}
        return BoundRun(open_session(one_operator("MatMul", kind, 2)), inputs).call

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        source = np.ones((num_bytes // COPIED_WIDTH, COPIED_WIDTH), np.uint8)
        return BoundRun(open_session(one_operator("Identity", source.dtype, 1)), {"x0": source}).call

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        from backends.onnx_runtime.checkpoints import OnnxCheckpoint

        return OnnxCheckpoint(path)

    def int8_layers(self, spec: Specification) -> Int8Offer:
        from backends.onnx_runtime.int8 import int8_layers

        return int8_layers(spec)

    def probes(self) -> Probes:
        from backends.onnx_runtime.probes import PROBES

        return PROBES
