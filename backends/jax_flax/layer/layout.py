"""Canonical weights to and from Flax's cells: kernels are transposed, some are split by gate, biases are summed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen, nnx

from backends.interface.layer import Arrays
from backends.jax_flax.layer.implementation import States, Tree
from common.specification import GATES, Specification
from common.weights import of_direction, weight_name

LINEN_CELLS = {
    "rnn_tanh": linen.SimpleCell,
    "rnn_relu": partial(linen.SimpleCell, activation_fn=jax.nn.relu),
    "gru": linen.GRUCell,
    "lstm": linen.OptimizedLSTMCell,
}
"""The class of flax.linen for each cell."""
NNX_CELLS = {
    "rnn_tanh": nnx.SimpleCell,
    "rnn_relu": partial(nnx.SimpleCell, activation_fn=jax.nn.relu),
    "gru": nnx.GRUCell,
    "lstm": nnx.OptimizedLSTMCell,
}
"""The class of flax.nnx for each cell."""
BOTH = ("bias_ih", "bias_hh")
"""The two biases, where one dense layer holds their sum."""
MODULES = "modules"
"""The name under which an implementation's parameters hold those of Flax's modules; a learned merge's have their
canonical names."""


class Dense(NamedTuple):
    """One dense layer of a Flax cell: its name, and the canonical kernel, gates and biases (summed) that it holds."""

    name: str
    kernel: str
    gates: tuple[str, ...]
    biases: tuple[str, ...]


def linen_denses(spec: Specification) -> list[Dense]:
    """The dense layers of the linen cell: one a gate, and one bias but for the GRU's n, which needs both."""
    if spec.cell.startswith("rnn"):
        return [Dense("i", "weight_ih", ("h",), BOTH), Dense("h", "weight_hh", ("h",), ())]
    denses = []
    for gate in GATES[spec.cell]:
        from_x, from_h = {"lstm": ((), BOTH), "gru": (BOTH, ())}[spec.cell]
        if gate == "n":
            from_x, from_h = BOTH[:1], BOTH[1:]
        denses += [Dense(f"i{gate}", "weight_ih", (gate,), from_x), Dense(f"h{gate}", "weight_hh", (gate,), from_h)]
    return denses


def nnx_denses(spec: Specification) -> list[Dense]:
    """The dense layers of the nnx cell: two, for all gates. See ``build_nnx_cell`` for the GRU's recurrent bias."""
    from_x, from_h = {"lstm": ((), BOTH), "gru": (BOTH[:1], BOTH[1:] if spec.bias else ())}.get(spec.cell, (BOTH, ()))
    gates = GATES[spec.cell]
    return [Dense("dense_i", "weight_ih", gates, from_x), Dense("dense_h", "weight_hh", gates, from_h)]


def summed_gates(denses: list[Dense]) -> tuple[str, ...]:
    """The gates whose two biases one dense layer holds as their sum."""
    return tuple(gate for dense in denses if dense.biases == BOTH for gate in dense.gates)


def build_linen_cell(spec: Specification, dtype: Any) -> linen.RNNCellBase:
    """A linen cell for one layer in one direction, computing in ``dtype``; it takes its parameters when it is applied.

    The initialisers are never run but traced for their shapes, which costs time, and the default orthogonal one cannot
    be traced in float16 or bfloat16 (flax 0.12.8): zeros stand in.
    """
    zeros = linen.initializers.zeros_init()
    return LINEN_CELLS[spec.cell](
        spec.hidden_size, kernel_init=zeros, recurrent_kernel_init=zeros, dtype=dtype, param_dtype=dtype
    )


def build_nnx_cell(spec: Specification, dtype: Any) -> nnx.RNNCellBase:
    """An nnx cell for one layer in one direction, computing in ``dtype``; abstract or not as the caller has it.

    nnx.GRUCell has no b_hn (flax 0.12.8, google/flax#5594): with biases its ``dense_h`` is replaced by a Linear of the
    same shape that has one, which is exact. The initialisers are zeros for the reasons of ``build_linen_cell``.
    """
    zeros, rngs = nnx.initializers.zeros_init(), nnx.Rngs(0)
    options = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}  # SimpleCell would compute in float32 by default
    cell = NNX_CELLS[spec.cell](
        spec.input_size, spec.hidden_size, kernel_init=zeros, recurrent_kernel_init=zeros, **options
    )
    if spec.cell == "gru" and spec.bias:
        cell.dense_h = nnx.Linear(spec.hidden_size, 3 * spec.hidden_size, use_bias=True, kernel_init=zeros, **options)
    return cell


def rows_of(spec: Specification, gates: tuple[str, ...]) -> slice:
    """The rows of a canonical kernel or bias that belong to consecutive gates."""
    first = GATES[spec.cell].index(gates[0])
    return slice(first * spec.hidden_size, (first + len(gates)) * spec.hidden_size)


def load_cell(
    spec: Specification, denses: list[Dense], weights: Mapping[str, np.ndarray], layer: int, direction: int
) -> Tree:
    """A Flax cell's parameters from canonical weights, in NumPy; absent biases become zeros."""
    mine = of_direction(spec, weights, layer, direction)
    cell = {}
    for dense in denses:
        rows = rows_of(spec.of_direction(layer, direction), dense.gates)
        kernel = getattr(mine, dense.kernel)[rows].T  # (G·hidden_size, in) to (in, gates·hidden_size)
        cell[dense.name] = {"kernel": kernel}
        if dense.biases:
            cell[dense.name]["bias"] = sum(getattr(mine, kind)[rows] for kind in dense.biases)
    return cell


def canonical_gradients(
    spec: Specification, denses: list[Dense], gradients: Tree, layer: int, direction: int
) -> Arrays:
    """The canonical weights' gradients from those of a Flax cell; a summed bias's gradient is that of both."""
    parts: dict[str, list[np.ndarray]] = {}
    for dense in denses:  # in the order of the gates
        kernel = np.asarray(gradients[dense.name]["kernel"]).T  # (in, gates·hidden_size) to (gates·hidden_size, in)
        parts.setdefault(dense.kernel, []).append(kernel)
        for kind in dense.biases:
            parts.setdefault(kind, []).append(np.asarray(gradients[dense.name]["bias"]))
    return {weight_name(kind, layer, direction): np.concatenate(rows) for kind, rows in parts.items()}


def carry_of(states: States) -> Any:
    """Flax's carry: h, or for an LSTM (c, h), where the canonical order is (h, c)."""
    return states[::-1] if len(states) == 2 else states[0]


def states_of(carry: Any) -> States:
    """The inverse of ``carry_of``."""
    return carry[::-1] if isinstance(carry, tuple) else (carry,)
