"""The frameworks' own int8 kernels: near the reference's output, and declared where there are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.gaps import Refusal
from backends.worker.execution import Unsupported
from backends.worker.int8 import FLOAT32, time_int8
from backends.worker.messages import TimeInt8
from common.case import Case, write_case
from common.reference import Reference
from common.specification import Cell, Specification
from common.tensorfile import read
from common.weights import initialise

WITH: dict[str, tuple[Cell, ...]] = {"torch": ("gru", "lstm"), "tensorflow": ("lstm",), "jax": (), "mxnet": ()}
"""The cells whose int8 kernels are run; LiteRT takes seconds to convert one."""
WITHOUT: dict[str, tuple[Cell, ...]] = {
    "torch": ("rnn_tanh", "rnn_relu"),
    "tensorflow": (),
    "jax": ("rnn_tanh", "lstm"),
    "mxnet": ("gru", "lstm"),
}
"""Cells that a framework has none of, which it declares."""


def a_request(cell: Cell, folder: Path, framework: Framework) -> tuple[Case, TimeInt8]:
    """Whole rows of a layer in two directions: LiteRT leaves kernels of fewer than 1024 numbers in float32."""
    spec = Specification(cell=cell, input_size=33, hidden_size=34, num_layers=1, bias=True, merge="concat")
    rng = np.random.default_rng(0)
    case = Case("int8", "", spec, rng.normal(size=(3, 4, 33)), initialise(spec, rng))
    write_case(case, folder / "case.safetensors")
    native = next(name for name in framework.implementations if name.startswith("native"))
    files = {"case": folder / "case.safetensors", "result": folder / "result.safetensors"}
    return case, TimeInt8(implementation=native, rounds=1, seconds=0.0, **files)


def test_kernels_of_int8_are_near_the_reference_and_not_it(framework: Framework, tmp_path: Path) -> None:
    for cell in WITH[framework.name]:
        case, request = a_request(cell, tmp_path, framework)
        times = time_int8(framework, request)
        outputs = read(request.result)[0]
        assert outputs.keys() == times.seconds.keys() == times.paths.keys()
        assert len(outputs) > 2
        zeros = np.zeros((2, 3, 34))
        expected = Reference(case.spec, case.weights, np.float64).forward(case.x, None, zeros, zeros)["output"]
        for name, given in outputs.items():
            apart = np.abs(given - expected).max()
            assert len(times.seconds[name]) == 1
            least, most = (0, 1e-6) if FLOAT32 in name else (1e-4, 0.05)
            assert least <= apart < most, (cell, name, apart)


def test_what_has_no_kernels_of_int8_is_declared(framework: Framework, tmp_path: Path) -> None:
    for cell in WITHOUT[framework.name]:
        case, request = a_request(cell, tmp_path, framework)
        offer = framework.int8_layers(case.spec)
        assert isinstance(offer, Refusal)
        with pytest.raises(Unsupported, match=re.escape(offer.reason)):
            time_int8(framework, request)
        assert not request.result.exists()


def test_what_torch_refuses_is_said_by_its_reason() -> None:
    pytest.importorskip("torch")
    from backends.pytorch.int8 import int8_layers

    layer = {"cell": "gru", "input_size": 2, "hidden_size": 3, "num_layers": 1}
    for told, reason in (
        ({"bias": False}, "takes layers with biases"),
        ({"reset_after": False}, "reset after the product"),
        ({"merge": "sum"}, "keep their directions side by side"),
        ({"hidden_size_reverse": 4}, "directions of one size"),
    ):
        offer = int8_layers(Specification.model_validate({**layer, "bias": True, "merge": "concat", **told}))
        assert isinstance(offer, Refusal)
        assert reason in offer.reason
