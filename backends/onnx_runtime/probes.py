"""Known divergences of ONNX Runtime's recurrent operators: silent, then late, then odd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime

from backends.interface.probe import Observation, Probes, observed
from backends.onnx_runtime.sessions import open_session
from common.reference import Arrays, Reference
from common.specification import Cell, Specification
from common.weights import initialise

PROBES = Probes()
"""Every probe of ONNX Runtime, by name."""
OPERATORS: dict[Cell, str] = {"rnn_tanh": "RNN", "gru": "GRU", "lstm": "LSTM"}
"""ONNX's operator for each cell that is probed."""
GATES = {"rnn_tanh": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""ONNX's gates by their places in the canonical layout: of a GRU z, r, n, of an LSTM i, o, f, c."""
SIZES: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "num_layers": 1, "bias": True, "num_directions": 1}
"""One layer, forward only, of which each probe is made."""
LENGTHS = np.array([5, 3, 1])
"""The lengths of three rows, unequal."""
CLOSE = 1e-5
"""What two correct results in float32 are not apart."""
Runner = Callable[..., Arrays]
"""``runner(spec, weights, x, lengths, h_0, dtype, **attributes)`` gives output and h_n, as ``run`` does."""


def drawn(cell: Cell, **changes: Any) -> tuple[Specification, Arrays, np.ndarray, np.ndarray]:
    """A forward layer with seeded weights, an input (3, 5, 4) and initial states (1, 3, 6)."""
    spec = Specification(cell=cell, merge=None, **SIZES | changes)
    random = np.random.default_rng(0)
    return spec, initialise(spec, random), random.normal(size=(3, 5, 4)), random.normal(size=(1, 3, 6))


def truth(spec: Specification, weights: Arrays, x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> Arrays:
    """The reference's output and final states."""
    return Reference(spec, weights, np.float64).forward(x, lengths, h_0, np.zeros_like(h_0))


def model(spec: Specification, weights: Arrays, dtype: str, **attributes: Any) -> bytes:
    """A graph of one operator, as somebody writes it by hand, with x, lengths and h_0 as its inputs."""
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensors = []
    for name, kind in (("W", "weight_ih"), ("R", "weight_hh")):
        tensors.append((name, _gates(spec, weights[f"{kind}_l0"])))
    biases = [_gates(spec, weights[f"{kind}_l0"]) for kind in ("bias_ih", "bias_hh")]
    tensors.append(("B", np.concatenate(biases)))
    initialisers = [onnx.numpy_helper.from_array(value[None].astype(dtype), name) for name, value in tensors]
    inputs = [("x", element, ["t", "b", spec.input_size]), ("h_0", element, [1, "b", spec.hidden_size])]
    values = [onnx.helper.make_tensor_value_info(*each) for each in [*inputs, ("lengths", 6, ["b"])]]
    outputs = [
        onnx.helper.make_tensor_value_info("Y", element, ["t", 1, "b", spec.hidden_size]),
        onnx.helper.make_tensor_value_info("Y_h", element, [1, "b", spec.hidden_size]),
    ]
    node = onnx.helper.make_node(
        OPERATORS[spec.cell],
        ["x", "W", "R", "B", "lengths", "h_0"],
        ["Y", "Y_h"],
        hidden_size=spec.hidden_size,
        **attributes,
    )
    graph = onnx.helper.make_graph([node], "probe", values, outputs, initialisers)
    opsets = [onnx.helper.make_opsetid("", 14)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _gates(spec: Specification, value: np.ndarray) -> np.ndarray:
    """A canonical weight's gates in ONNX's order."""
    parts = np.split(value, len(GATES[spec.cell]))
    return np.concatenate([parts[gate] for gate in GATES[spec.cell]])


def run(
    spec: Specification,
    weights: Arrays,
    x: np.ndarray,
    lengths: np.ndarray,
    h_0: np.ndarray,
    dtype: str = "float32",
    **attributes: Any,
) -> Arrays:
    """Output (batch, seq_len, hidden_size) and h_n of a session of ``model``."""
    return _outputs(open_session(model(spec, weights, dtype, **attributes)), x, lengths, h_0, dtype)


def _outputs(
    session: onnxruntime.InferenceSession, x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray, dtype: str
) -> Arrays:
    """Output and h_n of a session."""
    steps_first = np.ascontiguousarray(x.swapaxes(0, 1))  # (batch, seq_len, in) to (seq_len, batch, in)
    feed = {"x": steps_first.astype(dtype), "h_0": h_0.astype(dtype), "lengths": lengths.astype(np.int32)}
    every, last = session.run(["Y", "Y_h"], feed)
    return {"output": every[:, 0].swapaxes(0, 1), "h_n": last}  # (seq_len, batch, units) to (batch, seq_len, units)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest absolute difference; infinite where one is not finite."""
    apart = np.abs(np.asarray(one, np.float64) - other)
    return float(apart.max()) if np.isfinite(apart).all() else float("inf")


@PROBES.add(
    what="A row of length 0 should end in its initial state; ONNX Runtime's final state of it is 0.",
    consequence="What is carried from one piece of a stream to the next is lost wherever a row has nothing in a piece.",
    way_out="Put the initial state back for the rows of length 0: `np.where(lengths == 0, h_0, h_n)`.",
    harm="silent",
    upstream="https://github.com/onnx/onnx/issues/1674",
)
def empty_row_ends_in_zeros(runner: Runner = run) -> Observation:
    zero, kept = [], []
    for cell in OPERATORS:
        spec, weights, x, h_0 = drawn(cell)
        h_n = runner(spec, weights, x, np.array([5, 0, 1]), h_0)["h_n"]
        zero.append(not h_n[0, 1].any())
        kept.append(distance(h_n[0, 1], h_0[0, 1]) < CLOSE)
    told = f"the final states of rows of length 0 are 0 in {sum(zero)} of {len(zero)} operators, h_0 in {sum(kept)}"
    return observed(all(zero), all(kept), told)


@PROBES.add(
    what="tanh of a small number is that number; the RNN operator's is a difference of numbers near 1, up to 9e-8 off.",
    consequence="A state of 1e-4 has three or four right digits, one of 1e-8 is 0; GRU and LSTM are not concerned.",
    way_out="Scale inputs so that states are not far below 0.1, or run such an RNN elsewhere.",
    harm="silent",
)
def small_states_of_an_rnn_lose_their_digits(runner: Runner = run) -> Observation:
    spec, weights, x, h_0 = drawn("rnn_tanh")
    weights = {name: value if name.startswith("weight") else value * 0 for name, value in weights.items()}
    right = truth(spec, weights, x * 1e-4, LENGTHS, h_0 * 0)["h_n"]
    h_n = runner(spec, weights, x * 1e-4, LENGTHS, h_0 * 0)["h_n"]
    off = distance(h_n, right) / float(np.abs(right).max())
    told = f"of states up to {np.abs(right).max():.1e} the worst is {off:.1e} of them off"
    return observed(CLOSE < off < 0.1, off <= CLOSE, told)


@PROBES.add(
    what="A GRU node without linear_before_reset should be the GRU of PyTorch, cuDNN and Keras, which resets after the "
    "recurrent product; ONNX's default is to reset before it.",
    consequence="A GRU whose writer forgot the attribute runs, and is wrong by as much as another model would be.",
    way_out="Write `linear_before_reset=1` for what PyTorch, MXNet, Flax or Keras trained; birnn's graphs always say "
    "which it is.",
    harm="silent",
    upstream="https://onnx.ai/onnx/operators/onnx__GRU.html",
)
def gru_resets_before_by_default(runner: Runner = run) -> Observation:
    spec, weights, x, h_0 = drawn("gru")
    before = spec.model_copy(update={"reset_after": False})
    output = runner(spec, weights, x, LENGTHS, h_0)["output"]
    to_after, to_before = (distance(output, truth(each, weights, x, LENGTHS, h_0)["output"]) for each in (spec, before))
    told = f"{to_after:.1e} from a GRU that resets after the product, {to_before:.1e} from one that resets before it"
    return observed(to_before < CLOSE < to_after, to_after < CLOSE, told)


def run_in_int8(spec: Specification, weights: Arrays, x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> Arrays:
    """Output and h_n of a session of ``model`` after quantize_dynamic."""
    from backends.onnx_runtime.int8 import quantized  # here, for it takes a while

    return _outputs(open_session(quantized(model(spec, weights, "float32"))), x, lengths, h_0, "float32")


@PROBES.add(
    what="The lengths should keep the padding out of every answer; quantize_dynamic's LSTM rounds all of x with one "
    "scale, the padding and the other rows included.",
    consequence="What stands in the padding moves the answers of all rows, and so does a row that is large.",
    way_out="Put zeros into the padding, and answer rows of like size together.",
    harm="silent",
)
def int8_lstm_reads_its_padding(runner: Runner = run_in_int8) -> Observation:
    spec, weights, x, h_0 = drawn("lstm")
    exact = truth(spec, weights, x, LENGTHS, h_0)["output"]
    far = np.where((np.arange(5) >= LENGTHS[:, None])[..., None], 1000.0, x)
    answers = [runner(spec, weights, each, LENGTHS, h_0)["output"] for each in (x, far)]
    off, moved = distance(answers[0], exact), distance(*answers)
    told = f"outputs are {off:.1e} off in int8, and {moved:.1e} away when the padding holds 1000"
    return observed(moved > 10 * off, moved < CLOSE, told)


def complaint(act: Callable[[], object]) -> str:
    """The first line of what is raised; empty where nothing is."""
    try:
        act()
    except Exception as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""


@PROBES.add(
    what="A GRU or LSTM in float64 should run, or be refused when the session is made; it is refused at the first run.",
    consequence="A model loads in production and fails at its first request; an RNN in float64 does not load at all.",
    way_out="Convert to float32 first: `birnn convert` keeps the file's dtype, so cast the checkpoint before.",
    harm="late",
    upstream="https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md",
)
def float64_loads_and_does_not_run(runner: Runner = run) -> Observation:
    late, runs = [], []
    for cell in ("gru", "lstm"):
        spec, weights, x, h_0 = drawn(cell)
        made = complaint(lambda: open_session(model(spec, weights, "float64")))  # noqa: B023, called at once
        ran = complaint(lambda: runner(spec, weights, x, LENGTHS, h_0, "float64"))  # noqa: B023
        late.append(not made and bool(ran))
        runs.append(not ran)
    told = f"{sum(late)} of 2 sessions in float64 are made and do not run, {sum(runs)} run"
    return observed(all(late), all(runs), told)


@PROBES.add(
    what="Outputs past a length repeat the last one in Keras, whose models people run here; ONNX Runtime's are 0, "
    "whatever stands in the padding.",
    consequence="What takes the output at the last step for the last state reads zeros in every shorter row.",
    way_out="Take the final state Y_h, which is the one after a row's last step.",
    harm="surprise",
    upstream="https://github.com/microsoft/onnxruntime/issues/12492",
)
def outputs_past_a_length_are_zero(runner: Runner = run) -> Observation:
    zero, repeated = [], []
    for cell in OPERATORS:
        spec, weights, x, h_0 = drawn(cell)
        x[np.arange(5) >= LENGTHS[:, None]] = np.nan  # what must not be read
        results = runner(spec, weights, x, LENGTHS, h_0)
        past = results["output"][2, LENGTHS[2] :]
        zero.append(np.isfinite(results["h_n"]).all() and not past.any())
        repeated.append(distance(past, results["h_n"][0, 2]) < CLOSE)
    told = f"with NaN in the padding, outputs past a length are 0 in {sum(zero)} of {len(zero)} operators"
    return observed(all(zero), all(repeated), f"{told}, the last one in {sum(repeated)}")


def compute_dtype(spec: Specification, weights: Arrays, x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> str:
    """What a layer whose graph is in float16 computes in: rounding to float16 once, at the end, or at every step."""
    narrow = {name: value.astype(np.float16).astype(np.float64) for name, value in weights.items()}
    x, h_0 = (array.astype(np.float16).astype(np.float64) for array in (x, h_0))
    right = truth(spec, narrow, x, lengths, h_0)["output"]
    after = {"linear_before_reset": 1} if spec.cell == "gru" else {}
    output = run(spec, narrow, x, lengths, h_0, "float16", **after)["output"]
    once = np.abs(output - right) <= 0.75 * np.spacing(np.abs(output)).astype(np.float64)
    return "float32" if once.all() else "float16"


@PROBES.add(
    what="A layer in float16 should compute in float16; on the CPU ONNX Runtime puts casts around it and computes in "
    "float32.",
    consequence="float16 saves no time on a CPU, and its numbers are better than those of a device that has it.",
    way_out="Nothing to do for correctness; judge float16 on the device that will serve it.",
    harm="surprise",
)
def float16_is_computed_in_float32(computes_in: Callable[..., str] = compute_dtype) -> Observation:
    kinds = []
    for cell in OPERATORS:
        spec, weights, x, h_0 = drawn(cell)
        kinds.append(computes_in(spec, weights, x, LENGTHS, h_0))
    count = kinds.count("float32")
    told = f"{count} of {len(kinds)} operators round to float16 once, after a computation in float32"
    return observed(count == len(kinds), count == 0, told)


def operators_in_int8(cell: Cell) -> list[str]:
    """The recurrent operators of a graph after quantize_dynamic."""
    from backends.onnx_runtime.int8 import operators, quantized  # here, for it takes a while

    spec, weights, _, _ = drawn(cell)
    return operators(quantized(model(spec, weights, "float32")))


@PROBES.add(
    what="quantize_dynamic should quantize a graph's kernels, or say which it leaves; RNN and GRU nodes stay float32, "
    "and an LSTM node is quantized.",
    consequence="A model of GRUs is as large and as slow as before.",
    way_out="Take an LSTM where int8 is wanted, or `birnn predict --quantize int8 --save` for the size alone.",
    harm="surprise",
)
def quantize_dynamic_leaves_rnn_and_gru_in_float32(
    operators: Callable[[Cell], list[str]] = operators_in_int8,
) -> Observation:
    after = {name: operators(cell) for cell, name in OPERATORS.items()}
    kept = [name for name, operator in after.items() if operator == [name]]
    told = ", ".join(f"{name} {'stays as it is' if name in kept else f'becomes {after[name][0]}'}" for name in after)
    return observed(kept == ["RNN", "GRU"], not kept, told)
