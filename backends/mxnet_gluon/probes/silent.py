"""Where MXNet is silently wrong in bidirectional RNNs, each measured; probes.py goes on with what is late or odd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from mxnet import autograd, gluon, nd

from backends.interface.layer import Arrays
from backends.interface.probe import Observation, observed
from backends.mxnet_gluon.layer.implementation import DTYPES
from backends.mxnet_gluon.probes.subject import (
    CLOSE,
    PROBES,
    SQUARE,
    a_case,
    complaint,
    distance,
    full,
    fused,
    fused_gradients,
    run_fused,
    states_of,
    tensor,
    truth,
    unroll,
    unrolled_batch_first,
)
from common.case import Case
from common.cases.seeded import Shape
from common.judging.precision import numpy_dtype


def fused_by_length(case: Case) -> Arrays:
    """The results of a layer that is told the lengths."""
    return run_fused(case, use_sequence_length=True)


@PROBES.add(
    what="`use_sequence_length=True` should end each row at its length; on the CPU the lengths are ignored in float32.",
    consequence="The reverse direction reads the padding first, so every output of a shorter row is wrong.",
    way_out="Unroll the cells with `valid_length`, time first, or reverse by length with SequenceReverse.",
    harm="silent",
    upstream="https://github.com/apache/mxnet/issues/19323",
)
def sequence_length_ignored_on_cpu(run: Callable[[Case], Arrays] = fused_by_length) -> Observation:
    case = a_case("lstm")
    h_n = run(case)["h_n"]
    right, blind = distance(h_n, truth(case)["h_n"]), distance(h_n, truth(full(case))["h_n"])
    told = f"h_n differs by {right:.2g} from the right one and by {blind:.2g} from that of a run without lengths"
    return observed(blind < CLOSE, right < CLOSE, told)


def gradients_of_weights_alone(case: Case) -> Arrays:
    """The weights' gradients where none of the input is asked for."""
    for _ in range(8):  # MXNet's scratch memory, which takes turns, then holds the gradients of another case
        fused_gradients(replace(case, x=-case.x), of_data=True)
    return fused_gradients(case, of_data=False)


@PROBES.add(
    what="A layer's weight gradients should not depend on whether x needs one; in MXNet's own CPU kernel those of the "
    "lower layers are read from unwritten memory when x does not.",
    consequence="A stack on plain data trains on garbage in float64, and in float32 with MXNET_USE_MKLDNN_RNN=0.",
    way_out="Call `x.attach_grad()` before the pass, needed or not.",
    harm="silent",
)
def lower_gradients_wrong_unless_data_has_one(
    gradients: Callable[[Case], Arrays] = gradients_of_weights_alone,
) -> Observation:
    lower, top = [], []
    for seed in range(3):
        case = full(a_case("gru", seed=seed, num_layers=2))
        measured, wanted = gradients(case), truth(case)
        lower.append(distance(measured["grad.weight_ih_l0"], wanted["grad.weight_ih_l0"]))
        top.append(distance(measured["grad.weight_ih_l1"], wanted["grad.weight_ih_l1"]))
    told = f"of two GRU layers the lower one's weight_ih gradient is off by up to {max(lower):.2g}, the upper one's by "
    return observed(max(lower) > CLOSE > max(top), max(*lower, *top) < CLOSE, f"{told}{max(top):.2g}")


def gradients_with_data(case: Case) -> Arrays:
    """The weights' gradients where that of the input is asked for, too."""
    return fused_gradients(case, of_data=True)


@PROBES.add(
    what="Gradients of three or more RNN layers should be right; in MXNet's own CPU kernel an inner layer's weight_ih "
    "gradient is computed with its output for its input.",
    consequence="Inner layers of a deep RNN train in a wrong direction in float64, where gradients get checked.",
    way_out="Stack one-layer modules.",
    harm="silent",
    upstream="https://github.com/apache/mxnet/pull/18203",
)
def inner_rnn_gradient_wrong_in_float64(gradients: Callable[[Case], Arrays] = gradients_with_data) -> Observation:
    case = full(a_case("rnn_tanh", num_layers=3))
    measured, wanted = gradients(case), truth(case)
    errors = {name: distance(value, wanted[name]) for name, value in measured.items()}
    inner = errors.pop("grad.weight_ih_l1"), errors.pop("grad.weight_ih_l1_reverse")
    others = max(errors.values())
    told = f"weight_ih gradients of the middle layer are off by {max(inner):.2g}, all others by {others:.2g} at most"
    return observed(min(inner) > CLOSE > others, max(*inner, others) < CLOSE, told)


def trained(case: Case, dtype: str, rate: float) -> np.ndarray:
    """The fused layer's output in training, with dropout between its layers."""
    layer, _ = fused(case, dtype, dropout=rate)
    with autograd.record():
        return layer(tensor(case.x, dtype), states_of(case, dtype))[0].asnumpy()


@PROBES.add(
    what="`dropout` should drop between the layers in training; the oneDNN kernel, which the CPU runs in float32, "
    "ignores it.",
    consequence="A model meant to be regularised trains without dropout on the CPU, and with it on a GPU.",
    way_out="Set MXNET_USE_MKLDNN_RNN=0 and give x a gradient, or put a Dropout block between one-layer modules.",
    harm="silent",
)
def dropout_ignored_on_cpu(train: Callable[[Case, str, float], np.ndarray] = trained) -> Observation:
    case = full(a_case("lstm", num_layers=2))
    change = distance(train(case, "float32", 0.9), train(case, "float32", 0.0))
    own = distance(trained(case, "float64", 0.9), trained(case, "float64", 0.0))
    told = f"dropout of 0.9 changes the output by {change:.2g} in float32 and by {own:.2g} in float64, the own kernel"
    return observed(change == 0, change > 0, told)


@PROBES.add(
    what="`unroll(layout='NTC', valid_length=…)` of stacked bidirectional cells should reverse time; it swaps time and "
    "batch between the layers, unnoticed when they are equal.",
    consequence="A batch as large as it is long comes out wrong, all others raise.",
    way_out="Swap the axes of x and unroll with `layout='TNC'`.",
    harm="silent",
)
def unroll_mixes_rows_when_batch_is_seq_len(
    unrolled: Callable[[Case], np.ndarray] = unrolled_batch_first,
) -> Observation:
    case = a_case("lstm", SQUARE, with_states=False, num_layers=2)
    error = distance(unrolled(case), truth(case)["output"])
    return observed(error > 0.01, error < CLOSE, f"with 4 rows of 4 steps the output is off by {error:.2g}")


def last(x: nd.NDArray, length: int) -> nd.NDArray:
    """The last step of each row."""
    return nd.SequenceLast(x, tensor(np.array([length])), use_sequence_length=True)


@PROBES.add(
    what="A row of length 0 should end where it started; SequenceLast, which `unroll` takes its final states from, "
    "reads the memory before the array, and its gradient is added to that memory.",
    consequence="Empty rows get arbitrary final states and corrupt other arrays in training.",
    way_out="Give empty rows a length of 1 and mask what comes out.",
    harm="silent",
    upstream="https://github.com/apache/mxnet/issues/14019",
)
def empty_row_reads_memory_before_the_array(pick: Callable[[nd.NDArray, int], nd.NDArray] = last) -> Observation:
    around, gradient = nd.arange(1, 9).reshape((8, 1)), nd.zeros((8, 1))
    x = around[4:]  # shares its memory: 5 6 7 8, with 4 before
    autograd.mark_variables([x], [gradient[4:]])
    with autograd.record():
        picked = pick(x, 0)
    picked.backward()
    value, outside = picked.asscalar(), gradient[:4].sum().asscalar()
    told = (
        f"an empty row in memory behind the number 4 ends in {value:g}, and {outside:g} is added to the gradient there"
    )
    return observed(value == 4 and outside == 1, value == outside == 0, told)


def reverse(x: nd.NDArray, length: int, out: nd.NDArray) -> None:
    """Turn each row by its length."""
    nd.SequenceReverse(x, tensor(np.array([length])), use_sequence_length=True, out=out)


@PROBES.add(
    what="A length beyond the padded one should raise or count as full; SequenceReverse, which `unroll` reverses with, "
    "reads and writes past the ends of its arrays.",
    consequence="One wrong length in a batch corrupts other arrays or, later, ends the process.",
    way_out="Check or clip the lengths before they reach MXNet.",
    harm="silent",
)
def too_great_a_length_writes_past_the_array(
    turn: Callable[[nd.NDArray, int, nd.NDArray], None] = reverse,
) -> Observation:
    around, target = nd.arange(1, 9).reshape((8, 1)), nd.zeros((8, 1))
    raised = complaint(lambda: turn(around[:4], 6, target[:4]))
    written = int((target[4:] != 0).sum().asscalar())
    told = f"reversing 4 steps with a length of 6 wrote {written} numbers past them, {raised or 'without an error'}"
    return observed(written > 0 and not raised, written == 0, told)


def run_hybrid(layer: gluon.HybridBlock) -> None:
    """Make a graph of a layer."""
    layer.hybridize()


@PROBES.add(
    what="Called with states a layer should return output and states; a hybridized one whose first call had none "
    "returns the output alone from then on.",
    consequence="`output, states = layer(x, states)` takes a sequence of two steps apart and raises for any other.",
    way_out="Pass states in every call of a hybridized layer.",
    harm="silent",
)
def hybridized_layer_keeps_leaving_states_out(prepare: Callable[[Any], None] = run_hybrid) -> Observation:
    case = full(a_case("gru", Shape(3, 2)))
    layer, _ = fused(case, layout="TNC")
    prepare(layer)
    x = tensor(case.x).swapaxes(0, 1)  # (batch, seq_len, in) to (seq_len, batch, in)
    layer(x)
    output, _ = layer(x, states_of(case))
    whole = truth(case)["output"].swapaxes(0, 1)  # (batch, seq_len, …) to (seq_len, batch, …)
    first = output.shape == whole[0].shape and distance(output.asnumpy(), whole[0]) < CLOSE
    told = f"`output, states = layer(x, states)` gave an output of shape {output.shape}; the right one is {whole.shape}"
    return observed(first, output.shape == whole.shape, told)


CLIP = 0.1
"""The bound of the states that are clipped."""


def clipping(case: Case) -> Arrays:
    """The results of a layer that clips its states."""
    return run_fused(case, state_clip_min=-CLIP, state_clip_max=CLIP)


@PROBES.add(
    what="`state_clip_min` and `state_clip_max` should bound an LSTM's cell state; on the CPU they are ignored.",
    consequence="A model tuned with clipping on a GPU gives other results on the CPU.",
    way_out="Step an LSTMCell and clip its state with `nd.clip`.",
    harm="silent",
    upstream="https://github.com/apache/mxnet/pull/13056",
)
def state_clip_ignored_on_cpu(run: Callable[[Case], Arrays] = clipping) -> Observation:
    case = full(a_case("lstm"))
    c_n = run(case)["c_n"]
    largest, same = float(np.abs(c_n).max()), distance(c_n, truth(case)["c_n"])
    told = f"clipped at {CLIP:g}, c_n reaches {largest:.2g} and differs by {same:.2g} from c_n without clipping"
    return observed(largest > CLIP and same < CLOSE, largest < CLIP + CLOSE, told)


def unrolled_gradient(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Output and the gradient of weight_ih of the cells, unrolled by length, time first."""
    layer, parameters = fused(case)
    with autograd.record():
        output = unroll(layer, case, tensor(case.x).swapaxes(0, 1), "TNC")  # (batch, seq_len, …) to (seq_len, batch, …)
    output.backward()
    return output.asnumpy(), parameters["weight_ih_l0"].grad.asnumpy()


@PROBES.add(
    what="Nothing should depend on what the padding holds; with NaN there `unroll` by length gives right outputs and "
    "NaN for every weight gradient.",
    consequence="Batches padded with NaN, or with numbers that overflow, end a training run.",
    way_out="Pad with zeros, or overwrite the padding with SequenceMask first.",
    harm="silent",
)
def nan_in_padding_reaches_weight_gradients(
    run: Callable[[Case], tuple[np.ndarray, np.ndarray]] = unrolled_gradient,
) -> Observation:
    case = a_case("lstm", with_states=False)
    x = np.where(case.padding_mask()[..., None], np.nan, case.x)
    output, gradient = run(replace(case, x=x))
    nan, fine = int(np.isnan(gradient).sum()), bool(np.isfinite(output).all())
    told = f"{nan} of {gradient.size} elements of the gradient are NaN, the outputs are {'' if fine else 'not '}finite"
    return observed(fine and nan > 0, fine and nan == 0, told)


@PROBES.add(
    what="`nd.array` of a float64 array should be float64; it is float32 unless a dtype is given.",
    consequence="A run meant to be in double precision loses half its digits at the door.",
    way_out="Give `dtype=array.dtype`, or use `mx.np.array`.",
    harm="silent",
    upstream="https://github.com/apache/mxnet/issues/12268",
)
def array_of_float64_is_float32(make: Callable[[np.ndarray], nd.NDArray] = nd.array) -> Observation:
    third = np.array([1 / 3])
    made = make(third).asnumpy()
    told = f"1/3 came back as {made.dtype}, {distance(made, third):.2g} away"
    return observed(made.dtype == np.float32, made.dtype == np.float64, told)


@PROBES.add(
    what="A float64 RNN with relu should compute in float64; on the CPU every state is rounded to float32.",
    consequence="Gradient checks and references in double precision are good to seven digits only.",
    way_out="Unroll RNNCell with `activation='relu'`, which is exact.",
    harm="silent",
    upstream="https://github.com/apache/mxnet/blob/1.9.1/src/operator/rnn_impl.h",
)
def relu_in_float64_is_float32(run: Callable[[Case], Arrays] = lambda case: run_fused(case, "float64")) -> Observation:
    case = full(a_case("rnn_relu"))
    output = run(case)["output"]
    error, rounded = distance(output, truth(case)["output"]), bool((output == output.astype(np.float32)).all())
    told = f"the output is off by {error:.2g} and {'fits' if rounded else 'does not fit'} float32 exactly"
    return observed(rounded and error > 1e-12, error < 1e-12, told)


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """An array by way of bfloat16."""
    return tensor(array).astype(DTYPES["bfloat16"]).astype("float32").asnumpy()


@PROBES.add(
    what="Conversion to bfloat16 should round to the nearest; MXNet cuts the low bits off.",
    consequence="Errors are up to twice as large and all towards zero, so that they add up over the steps.",
    way_out="Keep recurrent parts in float32.",
    harm="silent",
)
def bfloat16_is_cut_off(convert: Callable[[np.ndarray], np.ndarray] = to_bfloat16) -> Observation:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    nearest = values.astype(numpy_dtype("bfloat16")).astype(np.float32)
    cut = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    converted = convert(values)
    told = f"{int((converted != nearest).sum())} of {len(values)} numbers are not the nearest bfloat16, "
    told += f"{int((converted != cut).sum())} are not the one cut off"
    return observed(bool((converted == cut).all()), bool((converted == nearest).all()), told)


def log_softmax_by_hand(x: nd.NDArray) -> nd.NDArray:
    """The logarithm of a softmax in operations."""
    shifted = nd.broadcast_sub(x, nd.max(x, axis=-1, keepdims=True))
    return nd.broadcast_sub(shifted, nd.log(nd.sum(nd.exp(shifted), axis=-1, keepdims=True)))


@PROBES.add(
    what="log_softmax in float32 should be as near as its own parts are; on the CPU it is several times further off.",
    consequence="A loss is off by millionths whatever its size, and training parts from other frameworks sooner.",
    way_out="Write it with max, exp, sum and log.",
    harm="silent",
)
def log_softmax_is_coarse_on_cpu(log_softmax: Callable[[nd.NDArray], nd.NDArray] = nd.log_softmax) -> Observation:
    x = np.random.default_rng(0).normal(size=(32, 17)).astype(np.float32)
    shifted = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
    right = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    whole, parts = (distance(each(tensor(x)).asnumpy(), right) for each in (log_softmax, log_softmax_by_hand))
    told = f"off by {whole:.2g}, max, exp, sum and log by {parts:.2g}"
    return observed(whole > 3 * parts, whole <= 1.5 * parts, told)
