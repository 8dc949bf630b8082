"""A plain timing loop around torch.nn's bidirectional layer, written without this suite, to hold its numbers against.

    python -m backends.pytorch.by_hand CELL SEQ_LEN BATCH INPUT_SIZE HIDDEN_SIZE

prints the seconds of each call, forward and backward, float32, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import torch

LAYERS = {"rnn_tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
"""The class for each cell that is timed here."""
WARM_UP, CALLS = 10, 40
"""Calls before the timed ones, and the timed ones."""


def main(cell: str, seq_len: int, batch: int, input_size: int, hidden_size: int) -> None:
    """Time a bidirectional layer's forward and backward pass, and print the seconds of each timed call."""
    layer = LAYERS[cell](input_size, hidden_size, batch_first=True, bidirectional=True)
    x = torch.randn(batch, seq_len, input_size, requires_grad=True)
    states = [torch.randn(2, batch, hidden_size, requires_grad=True) for _ in range(2 if cell == "lstm" else 1)]
    by_output = torch.randn(batch, seq_len, 2 * hidden_size)
    by_state = torch.randn(2, batch, hidden_size)
    samples = []
    for _ in range(WARM_UP + CALLS):
        started = time.perf_counter()
        output, final = layer(x, tuple(states) if cell == "lstm" else states[0])
        finals = list(final) if cell == "lstm" else [final]
        leaves = [x, *states, *layer.parameters()]
        torch.autograd.grad([output, *finals], leaves, [by_output, *[by_state] * len(finals)])
        samples.append(time.perf_counter() - started)
    print(json.dumps(samples[WARM_UP:]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
