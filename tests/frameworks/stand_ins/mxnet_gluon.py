"""For each of MXNet's odd, the behaviour that a user expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import rnn

from backends.interface.layer import Arrays
from backends.mxnet_gluon.layer.layout import build_cell, load_layer
from backends.mxnet_gluon.probes import odd, silent
from common.case import Case
from common.judging.yardstick import run_reference
from common.specification import NUM_DIRECTIONS


def unrolled_time_first(case: Case) -> np.ndarray:
    layer, _ = silent.fused(case)
    x = silent.tensor(case.x).swapaxes(0, 1)  # (batch, seq_len, in) to (seq_len, batch, in)
    return silent.unroll(layer, case, x, "TNC").swapaxes(0, 1).asnumpy()


def dropped_between_modules(case: Case, dtype: str, rate: float) -> np.ndarray:
    layer, _ = silent.fused(case, dtype, dropout=rate)
    with autograd.record():
        return silent.unroll(layer, case, silent.tensor(case.x, dtype), "NTC").asnumpy()


def stepped_and_clipped(case: Case) -> Arrays:
    finals = []
    for direction in range(NUM_DIRECTIONS):
        cell = build_cell(case.spec, 0, direction, np.dtype(np.float32), mx.cpu())
        load_layer(case.spec, cell, case.weights, [0], [direction])
        h, c = (state[direction] for state in silent.states_of(case))
        for t in range(case.seq_len)[:: -1 if direction else 1]:
            _, (h, c) = cell(silent.tensor(case.x[:, t]), [h, c])
            c = c.clip(-silent.CLIP, silent.CLIP)
        finals.append(c.asnumpy())
    return {"c_n": np.stack(finals)}


def last_or_zero(x: nd.NDArray, length: int) -> nd.NDArray:
    return silent.last(x, max(length, 1)) * (length > 0)


def reversed_within(x: nd.NDArray, length: int, out: nd.NDArray) -> None:
    silent.reverse(x, min(length, x.shape[0]), out)


def with_zeros_for_padding(case: Case) -> tuple[np.ndarray, np.ndarray]:
    return silent.unrolled_gradient(replace(case, x=np.where(case.padding_mask()[..., None], 0, case.x)))


def backward_at_once(loss: nd.NDArray) -> None:
    loss.backward()
    nd.waitall()


def initialize_then_cast(layer: gluon.Block) -> None:
    layer.cast("float32")
    layer.initialize()
    layer.cast("float64")


def unroll_from_its_dtype(cells: Any, x: nd.NDArray) -> Any:
    states = cells.begin_state(batch_size=x.shape[1], dtype=x.dtype)
    return cells.unroll(x.shape[0], x, begin_state=states, layout="TNC", merge_outputs=True)


def in_float32(x: nd.NDArray) -> gluon.Block:
    layer = rnn.LSTM(6, bidirectional=True, input_size=x.shape[2])
    layer.initialize()
    return layer


STAND_INS: dict[str, Callable[..., Any]] = {
    "quantized-lstm-does-not-run": in_float32,
    "sequence-length-ignored-on-cpu": lambda case: run_reference(case, np.float32),
    "lower-gradients-wrong-unless-data-has-one": silent.gradients_with_data,
    "inner-rnn-gradient-wrong-in-float64": lambda case: {
        name: value for name, value in run_reference(case, np.float64).items() if name.startswith("grad.weight")
    },
    "dropout-ignored-on-cpu": dropped_between_modules,
    "unroll-mixes-rows-when-batch-is-seq-len": unrolled_time_first,
    "empty-row-reads-memory-before-the-array": last_or_zero,
    "too-great-a-length-writes-past-the-array": reversed_within,
    "hybridized-layer-keeps-leaving-states-out": lambda layer: None,
    "state-clip-ignored-on-cpu": stepped_and_clipped,
    "nan-in-padding-reaches-weight-gradients": with_zeros_for_padding,
    "array-of-float64-is-float32": partial(nd.array, dtype="float64"),
    "relu-in-float64-is-float32": lambda case: run_reference(case, np.float64),
    "bfloat16-is-cut-off": lambda array: array.astype(ml_dtypes.bfloat16).astype(np.float32),
    "log-softmax-is-coarse-on-cpu": silent.log_softmax_by_hand,
    "projection-gradient-raises-later": backward_at_once,
    "added-up-gradient-raises-later": backward_at_once,
    "eleven-layers-cannot-be-saved": odd.save_collected,
    "lengths-of-gru-raise-once-hybridized": rnn.LSTM,
    "unroll-batch-first-raises-for-two-layers": unrolled_time_first,
    "float64-cannot-be-initialised-in-numpy-mode": initialize_then_cast,
    "unroll-in-float64-starts-in-float32": unroll_from_its_dtype,
    "float16-raises-on-cpu": lambda case, dtype: silent.run_fused(case, "float32"),
    "rnn-is-relu-by-default": partial(rnn.RNN, activation="tanh"),
    "only-the-output-without-states": lambda layer, x: layer(x, layer.begin_state(x.shape[0])),
    "checkpoints-have-two-kinds-of-names": odd.save_parameters,
    "layer-and-unroll-differ-in-layout": lambda cells, x: cells.unroll(x.shape[0], x, layout="TNC", merge_outputs=True)[
        0
    ],
    "import-needs-an-old-numpy": lambda: "",
    "profiler-removes-its-file": lambda path: odd.profile_into(f"{path}.json"),
}
