"""A plain timing loop around flax.linen's bidirectional layer, written without this suite, to hold its numbers against.

    python -m backends.jax_flax.by_hand CELL SEQ_LEN BATCH INPUT_SIZE HIDDEN_SIZE

prints the seconds of each call, forward and backward, float32, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import jax
from flax import linen

CELLS = {"rnn_tanh": linen.SimpleCell, "gru": linen.GRUCell, "lstm": linen.OptimizedLSTMCell}
"""The class for each cell that is timed here."""
WARM_UP, CALLS = 10, 40
"""Calls before the timed ones, and the timed ones."""


def main(cell: str, seq_len: int, batch: int, input_size: int, hidden_size: int) -> None:
    """Time a bidirectional layer's forward and backward pass, and print the seconds of each timed call."""
    layer = linen.Bidirectional(linen.RNN(CELLS[cell](hidden_size)), linen.RNN(CELLS[cell](hidden_size)))
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (batch, seq_len, input_size))
    state = jax.random.normal(keys[1], (batch, hidden_size))
    carries = ((state, state),) * 2 if cell == "lstm" else (state, state)
    by_output = jax.random.normal(keys[2], (batch, seq_len, 2 * hidden_size))
    parameters = layer.init(keys[3], x)

    def run(parameters: dict, x: jax.Array, carries: tuple) -> tuple:
        return layer.apply(parameters, x, initial_carry=carries, return_carry=True)

    @jax.jit
    def forward_backward(parameters: dict, x: jax.Array, carries: tuple, cotangents: tuple) -> tuple:
        results, pull_back = jax.vjp(run, parameters, x, carries)
        return results, pull_back(cotangents)

    samples = []
    for _ in range(WARM_UP + CALLS):
        started = time.perf_counter()
        jax.block_until_ready(forward_backward(parameters, x, carries, (carries, by_output)))
        samples.append(time.perf_counter() - started)
    print(json.dumps(samples[WARM_UP:]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
