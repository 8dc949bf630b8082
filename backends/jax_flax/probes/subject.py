"""What JAX and Flax's probes run: sizes, inputs and layers, and how far results are apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays
from backends.interface.probe import Probes
from backends.jax_flax.layer.layout import linen_denses, load_cell
from backends.jax_flax.layer.lengths import Tree
from backends.jax_flax.layer.native import DIRECTIONS, NativeLinen
from common.cases.builtin import SIZES
from common.reference import Reference
from common.specification import NUM_DIRECTIONS, Cell, Specification
from common.weights import initialise

PROBES = Probes()
"""The framework's probes; silent.py and then odd.py put theirs in."""
Run = Callable[[np.ndarray, np.ndarray, np.ndarray], Arrays]
"""A bidirectional GRU: x, lengths and h_0 to output and h_n."""
Gradients = Callable[[np.ndarray, np.ndarray], Arrays]
"""A function from x and lengths to a loss and its gradients by weight_ih_l0, weight_hh_l0 and so on."""
BATCH, SEQ_LEN, INPUT_SIZE, HIDDEN_SIZE = 3, 5, SIZES["input_size"], SIZES["hidden_size"]
"""The sizes of what the probes run."""
LENGTHS = np.array([5, 3, 1], np.int32)
"""The lengths of three rows of five steps."""
FULL = np.full(BATCH, SEQ_LEN, np.int32)
"""The lengths of rows without padding."""
PADDING = np.arange(SEQ_LEN) >= LENGTHS[:, None]
"""The positions past the lengths."""
GROWTH = 20.0
"""How many times the usual recurrent weights are, so that a ReLU's state grows tenfold a step and more, and overflows
float32 in ``LONG`` steps, but not in ``SEQ_LEN``."""
LONG = 100
"""Steps of padding in which a state that grows overflows."""
CLOSE, FAR = 1e-5, 1e-2
"""Differences below the one are float32's rounding, above the other they are not."""
X = np.random.default_rng(0).normal(size=(BATCH, SEQ_LEN, INPUT_SIZE)).astype(np.float32)
"""The input of the probes, from N(0, 1)."""
H_0, C_0 = np.random.default_rng(1).normal(size=(2, NUM_DIRECTIONS, BATCH, HIDDEN_SIZE)).astype(np.float32)
"""The first states of the probes, from N(0, 1)."""


def specification(cell: Cell, bias: bool = True) -> Specification:
    """One layer of the sizes of ``X`` and ``H_0``."""
    return Specification(**(SIZES | {"cell": cell, "bias": bias}))


def weights_of(cell: Cell) -> Arrays:
    """The canonical weights that every probe uses."""
    return initialise(specification(cell), np.random.default_rng(2))


def reference(cell: Cell, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray = C_0) -> Arrays:
    """What is right, from the float64 reference."""
    return Reference(specification(cell), weights_of(cell), np.float64).forward(x, lengths, h_0, c_0)


def linen_parameters(cell: Cell, weights: Arrays | None = None) -> Tree:
    """The parameters of a linen.Bidirectional with canonical weights, by default those of every probe."""
    spec, canonical = specification(cell), weights_of(cell) if weights is None else weights
    trees = [load_cell(spec, linen_denses(spec), canonical, 0, way) for way in range(NUM_DIRECTIONS)]
    tree = {name: {"cell": one} for name, one in zip(DIRECTIONS, trees, strict=True)}
    return jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), tree)


@partial(jax.jit, static_argnums=0)
def run_linen(cell: Cell, parameters: Tree, x: jax.Array, lengths: jax.Array, carries: Any) -> tuple[Any, jax.Array]:
    """Carries and output of linen.Bidirectional as Flax gives them."""
    module = NativeLinen.build_layer(specification(cell), 0, jnp.float32)
    return NativeLinen.apply_layer(module, parameters, x, initial_carry=carries, seq_lengths=lengths, return_carry=True)


def flax_bidirectional(x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> Arrays:
    """linen.Bidirectional of GRUs with seq_lengths; a ``Run``."""
    carries, output = run_linen("gru", linen_parameters("gru"), x, lengths, tuple(h_0))
    return {"output": np.asarray(output), "h_n": np.stack(carries)}


def apart(a: Any, b: Any) -> float:
    """The largest difference."""
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())


def attempt(behaviour: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """The result and "", or None and the error's type with its first sentence."""
    try:
        return behaviour(*arguments), ""
    except Exception as error:  # whatever it is, it is what is being measured
        return None, f"{type(error).__name__}: {str(error).split(', but they differ')[0].splitlines()[0]:.150}"
