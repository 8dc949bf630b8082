"""ONNX Runtime's own int8 kernel: near the reference's output, and declared where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.interface.gaps import Refusal
from backends.worker.int8 import FLOAT32, time_int8
from backends.worker.messages import TimeInt8
from common.case import Case, write_case
from common.reference import Reference
from common.specification import Specification
from common.tensorfile import read
from common.weights import initialise
from tests.onnx_runtime.loaded import framework

FRAMEWORK = framework()


def test_an_lstm_in_int8_is_near_the_reference_and_not_it(tmp_path: Path) -> None:
    spec = Specification(cell="lstm", input_size=5, hidden_size=6, num_layers=2, bias=True, merge="concat")
    rng = np.random.default_rng(0)
    case = Case("int8", "", spec, rng.normal(size=(3, 4, 5)), initialise(spec, rng))
    write_case(case, tmp_path / "case.safetensors")
    files = {"case": tmp_path / "case.safetensors", "result": tmp_path / "result.safetensors"}
    times = time_int8(FRAMEWORK, TimeInt8(implementation="native", rounds=2, seconds=0.0, **files))
    outputs = read(files["result"])[0]
    zeros = np.zeros((4, 3, 6))
    expected = Reference(spec, case.weights, np.float64).forward(case.x, None, zeros, zeros)["output"]
    assert len(outputs) == 3
    for name, given in outputs.items():
        least, most = (0, 1e-6) if name == FLOAT32 else (1e-4, 0.05)
        assert least <= np.abs(given - expected).max() < most, name
        assert len(times.seconds[name]) == 2
        assert ("DynamicQuantizeLSTM" in times.paths[name]) == (name != FLOAT32)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru"])
def test_what_stays_float32_is_declared(cell: str) -> None:
    spec = Specification.model_validate(
        {"cell": cell, "input_size": 5, "hidden_size": 6, "num_layers": 1, "bias": True, "merge": "concat"}
    )
    assert isinstance(FRAMEWORK.int8_layers(spec), Refusal)
