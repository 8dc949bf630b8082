"""What MXNet's probes run: sizes, inputs and layers, and how far results are apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, nd

from backends.interface.layer import Arrays
from backends.interface.probe import Probes
from backends.mxnet_gluon.layer.implementation import RESULTS
from backends.mxnet_gluon.layer.layout import LAYERS, activation, load_layer
from common.case import Case
from common.cases.seeded import Shape, make_case
from common.judging.yardstick import run_reference
from common.specification import Specification

PROBES = Probes()
"""The framework's probes; silent.py and then odd.py put theirs in."""

RAGGED, SQUARE = Shape(3, 5, (5, 3, 1)), Shape(4, 4, (4, 3, 1, 2))
"""The shape of most cases, and one with as many rows as steps."""
CLOSE = 1e-5
"""Float32 results of the small cases here lie well within it of the reference's, wrong ones well outside."""


def a_case(cell: str, shape: Shape = RAGGED, with_states: bool = True, seed: int = 0, **changes: Any) -> Case:
    """A case of these sizes, its arrays drawn from the seed."""
    sizes: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "num_layers": 1, "bias": True, "merge": "concat"}
    spec = Specification(cell=cell, **(sizes | changes))  # type: ignore[arg-type]
    return make_case("probe", spec, shape, seed=seed, with_states=with_states, with_cotangents=True, source="a probe")


def full(case: Case) -> Case:
    """The case without its lengths."""
    return replace(case, lengths=None)


def truth(case: Case) -> Arrays:
    """The reference's results in float64."""
    return run_reference(case, np.float64)


def distance(values: np.ndarray, wanted: np.ndarray) -> float:
    """The largest absolute difference; infinite where a number is not finite."""
    return float(np.nan_to_num(np.abs(values.astype(np.float64) - wanted), nan=np.inf).max())


def tensor(array: np.ndarray, dtype: str = "float32") -> nd.NDArray:
    """An array of MXNet's."""
    return nd.array(array, dtype=dtype)


def fused(case: Case, dtype: str = "float32", make: Callable | None = None, **options: Any) -> tuple[Any, Any]:
    """Gluon's bidirectional layer with the case's weights, and its parameters under their canonical names."""
    spec, make = case.spec, make or partial(LAYERS[case.spec.cell], **activation(case.spec))
    options = {"num_layers": spec.num_layers, "input_size": spec.input_size, "layout": "NTC"} | options
    layer = make(spec.hidden_size, bidirectional=True, dtype=dtype, **options)
    layer.initialize(mx.init.Zero())
    return layer, load_layer(spec, layer, case.weights, range(spec.num_layers), (0, 1))


def states_of(case: Case, dtype: str = "float32") -> list[nd.NDArray]:
    """A case's first states."""
    return [tensor(case.initial_state(name), dtype) for name in case.state_names]


def run_fused(case: Case, dtype: str = "float32", **options: Any) -> Arrays:
    """The fused layer's results, with the case's lengths where ``use_sequence_length`` is among the options."""
    layer, _ = fused(case, dtype, **options)
    lengths = [tensor(case.lengths)] if case.lengths is not None and options.get("use_sequence_length") else []
    output, finals = layer(tensor(case.x, dtype), states_of(case, dtype), *lengths)
    return {name: value.asnumpy() for name, value in zip(RESULTS, [output, *finals], strict=False)}


def fused_gradients(case: Case, of_data: bool, dtype: str = "float64") -> Arrays:
    """The gradients of the fused layer's weights; ``of_data``: x needs its gradient too."""
    layer, parameters = fused(case, dtype)
    x = tensor(case.x, dtype)
    if of_data:
        x.attach_grad()
    with autograd.record():
        output, finals = layer(x, states_of(case, dtype))
    autograd.backward([output, *finals], [tensor(value, dtype) for value in case.full_cotangents().values()])
    return {f"grad.{name}": value.grad.asnumpy() for name, value in parameters.items()}


def unroll(layer: Any, case: Case, x: nd.NDArray, layout: str) -> nd.NDArray:
    """The outputs of the layer's cells, unrolled by the case's lengths."""
    lengths = None if case.lengths is None else tensor(case.lengths)
    cells = layer._unfuse()
    return cells.unroll(case.seq_len, x, layout=layout, merge_outputs=True, valid_length=lengths)[0]


def unrolled_batch_first(case: Case) -> np.ndarray:
    """The output of a layer's unrolled cells, batch first."""
    layer, _ = fused(case)
    return unroll(layer, case, tensor(case.x), "NTC").asnumpy()


def complaint(call: Callable[[], object]) -> str:
    """What ``call`` raised, in one line without its place in MXNet's source; empty when it raised nothing."""
    try:
        call()
    except Exception as error:
        lines = [re.sub(r"^(\[[\d:]+\] \S+|MXNetError:) ", "", line) for line in str(error).strip().splitlines()]
        return f"{type(error).__name__}: {lines[-1] if lines[0].startswith('Traceback') else lines[0]}"
    return ""
