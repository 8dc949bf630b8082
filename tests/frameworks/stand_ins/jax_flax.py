"""What JAX's and Flax's behaviour would be were each divergence mended, by the name of its probe."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from backends.interface.layer import Arrays
from backends.jax_flax.layer.layout import load_cell, nnx_denses
from backends.jax_flax.layer.native import DIRECTIONS, NativeNnx
from backends.jax_flax.probes import odd
from backends.jax_flax.probes import silent as probes
from common.specification import NUM_DIRECTIONS


def checked(x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> Arrays:
    if lengths.max() > x.shape[1]:
        raise ValueError(f"lengths must be at most {x.shape[1]}; got {lengths.max()}")
    return probes.flax_bidirectional(x, lengths, h_0)


def empty_rows_kept(x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> Arrays:
    results = probes.flax_bidirectional(x, lengths, h_0)
    return results | {"h_n": np.where(lengths[:, None] > 0, results["h_n"], h_0)}


def output_masked(x: np.ndarray, lengths: np.ndarray, h_0: np.ndarray) -> Arrays:
    results = probes.flax_bidirectional(x, lengths, h_0)
    real = np.arange(x.shape[1]) < lengths[:, None]
    return results | {"output": np.where(real[..., None], results["output"], 0)}


def padding_cleared(x: np.ndarray, lengths: np.ndarray) -> Arrays:
    real = np.arange(x.shape[1]) < lengths[:, None]
    return probes.lstm_gradients(np.where(real[..., None], x, np.float32(0)), lengths)


def cut_to_the_longest_row(x: np.ndarray, lengths: np.ndarray) -> Arrays:
    return probes.growing_gradients(x[:, : lengths.max()], lengths)


def gru_with_b_hn(x: np.ndarray, weights: Arrays) -> np.ndarray:
    spec = probes.specification("gru")
    trees = [load_cell(spec, nnx_denses(spec), weights, 0, direction) for direction in range(NUM_DIRECTIONS)]
    tree = {name: {"cell": cell} for name, cell in zip(DIRECTIONS, trees, strict=True)}
    parameters = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), tree)
    module = NativeNnx.build_layer(spec, 0, jnp.float32)
    initial = tuple(jnp.zeros_like(probes.H_0))
    return np.asarray(NativeNnx.apply_layer(module, parameters, jnp.asarray(x), initial_carry=initial))


def lstm_from_h_then_c(h_0: np.ndarray, c_0: np.ndarray) -> jax.Array:
    carries = tuple(zip(c_0, h_0, strict=True))
    return probes.run_linen("lstm", probes.linen_parameters("lstm"), probes.X, probes.FULL, carries)[1]


def time_major_outside(x: np.ndarray) -> np.ndarray:
    zeros = np.zeros((NUM_DIRECTIONS, x.shape[1], probes.HIDDEN_SIZE), np.float32)
    lengths = np.full(x.shape[1], x.shape[0], np.int32)
    results = probes.flax_bidirectional(x.swapaxes(0, 1), lengths, zeros)  # (seq_len, batch, …) to (batch, seq_len, …)
    return results["output"].swapaxes(0, 1)  # (batch, seq_len, …) to (seq_len, batch, …)


def order_kept(x: np.ndarray) -> np.ndarray:
    return probes.reverse_half(x)[:, ::-1]  # time reversed


def bias_trained_twice_as_fast(x: np.ndarray, lengths: np.ndarray) -> Arrays:
    gradients = probes.lstm_gradients(x, lengths)
    return gradients | {name: 2 * gradients[name] for name in ("bias_ih_l0", "bias_hh_l0")}


def orthogonal_by_gate(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    units = shape[0]
    gates = [jax.nn.initializers.orthogonal()(one, (units, units)) for one in jax.random.split(key, shape[1] // units)]
    return jnp.concatenate(gates, axis=1).astype(dtype)


def simple_cell_in_float64() -> nnx.SimpleCell:
    return nnx.SimpleCell(
        probes.INPUT_SIZE, probes.HIDDEN_SIZE, dtype=jnp.float64, param_dtype=jnp.float64, rngs=nnx.Rngs(0)
    )


def in_half_precision(kind: Any, dtype: Any = jnp.bfloat16) -> linen.RNNCellBase:
    return kind(probes.HIDDEN_SIZE, dtype=dtype, param_dtype=dtype, recurrent_kernel_init=orthogonal_by_gate)


def scaled_up_and_down(cotangents: np.ndarray) -> np.ndarray:
    return np.ldexp(probes.pulled_back(np.ldexp(cotangents, 20)), -20)


STAND_INS: dict[str, Callable] = {
    "no-layer-is-quantized": lambda: [*odd.public_names(), "QuantizedLSTMCell"],
    "length-0-runs-over-all-the-padding": empty_rows_kept,
    "length-past-the-end-rotates-reverse-time": checked,
    "nan-in-the-padding-reaches-gradients": padding_cleared,
    "relu-overflows-in-the-padding": cut_to_the_longest_row,
    "output-past-the-length-is-live": output_masked,
    "nnx-gru-lacks-b-hn": gru_with_b_hn,
    "lstm-carry-is-c-then-h": lstm_from_h_then_c,
    "bidirectional-overrides-time-major": time_major_outside,
    "reverse-output-is-in-reversed-time": order_kept,
    "one-bias-moves-half-as-far": bias_trained_twice_as_fast,
    "joined-recurrent-kernel-starts-at-half-the-norm": lambda units: nnx.OptimizedLSTMCell(
        probes.INPUT_SIZE, units, recurrent_kernel_init=orthogonal_by_gate, rngs=nnx.Rngs(0)
    ),
    "float64-becomes-float32": np.asarray,
    "nnx-simple-cell-cuts-float64": simple_cell_in_float64,
    "half-precision-parameters-cannot-be-initialised": partial(in_half_precision, linen.LSTMCell),
    "linen-float64-fails-in-the-scan": partial(linen.LSTMCell, probes.HIDDEN_SIZE, param_dtype=jnp.float64),
    "compiled-programs-use-up-memory-mappings": lambda: probes.run_linen(
        "gru", probes.linen_parameters("gru"), probes.X, probes.FULL, tuple(probes.H_0)
    ),
    "dtype-follows-the-initial-carry": in_half_precision,
    "tanh-is-several-spacings-off": np.tanh,
    "subnormal-gradients-are-flushed-to-0": scaled_up_and_down,
}
