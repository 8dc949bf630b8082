"""onnxruntime/native: outputs and states as the reference has them, gradients declined, every gap a real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.interface.gaps import Request, request_of
from backends.interface.layer import Implementation, inputs_of
from backends.onnx_runtime.gaps import GAPS
from backends.worker.execution import Unsupported, execute, execute_again
from common.case import Case
from common.cases.builtin import CELLS, small_cases
from common.judging.agreement import judge
from common.judging.precision import numpy_dtype
from common.judging.trial import OTHERS, other_paddings
from common.judging.yardstick import without_gradients, yardstick
from common.specification import Specification
from tests.cases import a_case
from tests.onnx_runtime.loaded import framework

FRAMEWORK = framework()
CASES = {case.name: case.without_gradients() for case in small_cases()}
EXAMPLES = {
    "float64": (CASES["lstm-ragged"], "float64"),
    "lengths of 0": (CASES["lstm-all-rows-empty"], "float32"),
    "an RNN with tanh whose numbers are all small": (CASES["rnn_tanh-wide-small"], "float32"),
    "bfloat16": (CASES["lstm-ragged"], "bfloat16"),
    "directions of different sizes": (CASES["lstm-unequal"], "float32"),
    "merge weighted": (CASES["rnn_tanh-ones"], "float32"),
}
"""A case that falls into each gap, and into no other."""


def agrees(tensors: dict[str, np.ndarray], case: Case, dtype: str) -> bool:
    return judge(tensors, without_gradients(yardstick(case, dtype))).agrees


def opened(case: Case) -> Implementation:
    made = FRAMEWORK.implementations["native"](case.spec, "float32", "cpu")
    made.load_weights(case.weights)
    made.move_inputs(inputs_of(case))
    return made


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_agrees_with_the_reference_and_again(cell: str, dtype: str) -> None:
    """Stacked, ragged, with garbage in the padding; reset-before GRUs are ONNX's own default."""
    case = a_case(cell, lengths=(2, 5, 3), num_layers=2).without_gradients()
    result, others = execute_again(FRAMEWORK, case, "native", dtype, "cpu", forward=True)
    assert agrees(result.tensors, case, dtype)
    assert others == {}, OTHERS
    swapped = result.tensors | {"h_n": result.tensors["h_n"][::-1].copy()}
    assert not agrees(swapped, case, dtype)
    for what, other in other_paddings(case).items():
        again = execute(FRAMEWORK, other, "native", dtype, "cpu").tensors
        assert all(np.array_equal(again[name], value) for name, value in result.tensors.items()), what


@pytest.mark.parametrize("merge", ["sum", "mul", "ave", None])
def test_merges_and_one_direction_agree(merge: str | None) -> None:
    changes = {"merge": None, "num_directions": 1} if merge is None else {"merge": merge}
    case = a_case("gru", lengths=None, num_layers=3, **changes).without_gradients()
    assert agrees(execute(FRAMEWORK, case, "native", "float32", "cpu").tensors, case, "float32")


def test_gradients_are_declined_with_the_reason_and_not_computed() -> None:
    case = a_case("lstm", lengths=(2, 5, 3))
    assert case.cotangents
    with pytest.raises(Unsupported, match=r"computes no gradients: .* no automatic differentiation"):
        execute(FRAMEWORK, case, "native", "float32", "cpu")
    with pytest.raises(NotImplementedError, match="no automatic differentiation"):
        opened(case).forward_backward()


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.what)
def test_every_gap_is_real(gap: object) -> None:
    """Each has an example that falls into no other one, and fails when it is run all the same."""
    (what,) = [each.what for each in GAPS if each is gap]
    case, dtype = EXAMPLES[what]
    request = request_of(case, dtype, "cpu")
    assert [each.what for each in GAPS if each.applies(request)] == [what]
    made = FRAMEWORK.implementations["native"](case.spec, dtype, "cpu")
    try:
        made.load_weights(case.weights)
        made.move_inputs(inputs_of(case))
        made.forward()
        right = agrees(made.extract(), case, dtype)
    except Exception:
        right = False
    assert not right


def test_numbers_of_usual_size_are_no_gap() -> None:
    case = CASES["rnn_tanh-full"]
    assert FRAMEWORK.refusal("native", request_of(case, "float32", "cpu")) is None
    small = replace(case, x=case.x * 1e-3, h_0=None, weights={k: v * 0.01 for k, v in case.weights.items()})
    assert FRAMEWORK.refusal("native", request_of(small, "float32", "cpu")) is not None
    unknown = Request(case.spec, "float32", "cpu", 3, 9, None, gradients=False)
    assert FRAMEWORK.refusal("native", unknown) is None


def test_its_path_and_kernels_are_told() -> None:
    made = opened(CASES["lstm-ragged"])
    assert made.path() == "2 × ONNX LSTM, bidirectional, CPUExecutionProvider"
    made.forward()
    assert any(text.startswith("LSTM ×2") for text in made.kernels("forward")), made.kernels("forward")


def test_an_earlier_answer_stays_when_it_is_called_again() -> None:
    made = opened(CASES["gru-ragged"])
    made.forward()
    first = made.extract()
    kept = {name: value.copy() for name, value in first.items()}
    made.move_inputs(inputs_of(replace(CASES["gru-ragged"], x=CASES["gru-ragged"].x + 1)))
    made.forward()
    assert not np.array_equal(made.extract()["output"], kept["output"])
    assert all(np.array_equal(value, kept[name]) for name, value in first.items())


def test_the_machine_is_measured_with_it() -> None:
    """A product of matrices, and a copy, for the limit that times are drawn above."""
    size = 32
    FRAMEWORK.product(size, "float32", "cpu")()
    FRAMEWORK.copy(2**20, "cpu")()
    spec = Specification(cell="gru", input_size=4, hidden_size=3, num_layers=1, bias=True, merge="concat")
    assert numpy_dtype("float32") == np.float32
    assert FRAMEWORK.refusal("native", Request(spec, "float32", "gpu", 3, 9, None, gradients=False)) is not None
