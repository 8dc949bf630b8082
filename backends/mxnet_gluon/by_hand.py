"""A plain timing loop around Gluon's bidirectional layer, written without this suite, to hold its numbers against.

    python -m backends.mxnet_gluon.by_hand CELL SEQ_LEN BATCH INPUT_SIZE HIDDEN_SIZE

prints the seconds of each call, forward and backward, float32, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial

from mxnet import autograd, gluon, nd

LAYERS = {"rnn_tanh": partial(gluon.rnn.RNN, activation="tanh"), "gru": gluon.rnn.GRU, "lstm": gluon.rnn.LSTM}
"""The class for each cell that is timed here."""
WARM_UP, CALLS = 10, 40
"""Calls before the timed ones, and the timed ones."""


def main(cell: str, seq_len: int, batch: int, input_size: int, hidden_size: int) -> None:
    """Time a bidirectional layer's forward and backward pass, and print the seconds of each timed call."""
    layer = LAYERS[cell](hidden_size, layout="NTC", bidirectional=True, input_size=input_size)
    layer.initialize()
    layer.hybridize()
    x = nd.random.normal(shape=(batch, seq_len, input_size))
    states = [nd.random.normal(shape=(2, batch, hidden_size)) for _ in range(2 if cell == "lstm" else 1)]
    by_output = nd.random.normal(shape=(batch, seq_len, 2 * hidden_size))
    for leaf in (x, *states):
        leaf.attach_grad()
    weights = [parameter.data() for parameter in layer.collect_params().values()]
    nd.waitall()
    samples = []
    for _ in range(WARM_UP + CALLS):
        started = time.perf_counter()
        with autograd.record():
            output, finals = layer(x, states)
        autograd.grad([output, *finals], [x, *states, *weights], [by_output, *states])
        nd.waitall()
        samples.append(time.perf_counter() - started)
    print(json.dumps(samples[WARM_UP:]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
