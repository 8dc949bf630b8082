"""Patterns that tutorials teach for a bidirectional layer in PyTorch, and what the suite says of each:
python examples/torch_patterns.py. The first one is right; the others run, train and are wrong.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import birnn

KINDS = {"rnn_tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def supported(spec, lengths):
    if spec.num_layers > 1 or spec.merge != "concat" or spec.hidden_size_reverse is not None or not spec.bias:
        raise NotImplementedError("one layer with biases and concat, of equal halves")
    if spec.cell not in KINDS or (spec.cell == "gru" and not spec.reset_after):
        raise NotImplementedError("torch.nn has no such cell")
    if lengths is None or (lengths == 0).any():
        raise NotImplementedError("rows with lengths, none of them 0")


def module(spec, bidirectional=True, batch_first=True, **changes):
    return KINDS[spec.cell](
        spec.input_size, spec.hidden_size, bidirectional=bidirectional, batch_first=batch_first, **changes
    )


def run(layer, weights, x, h_0, c_0):
    """The layer with these weights: output and final states, as tuples."""
    output, states = functional_call(layer, dict(weights), (x, h_0 if c_0 is None else (h_0, c_0)))
    return output, states if isinstance(states, tuple) else (states,)


def cleared(x, lengths):
    """Zeros past the lengths."""
    return torch.where((torch.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)


def run_packed(layer, weights, x, lengths, h_0, c_0):
    """The same on rows packed by length."""
    rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, states = run(layer, weights, rows, h_0, c_0)
    return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0], states


def one_way(spec, weights, h_0, c_0, direction):
    """A layer of one direction, with that direction's weights and initial states."""
    layer = module(spec, bidirectional=False)
    mine = {name: weights[name + ("", "_reverse")[direction]] for name in dict(layer.named_parameters())}
    given = (None if state is None else state[direction : direction + 1].contiguous() for state in (h_0, c_0))
    return layer, mine, *given


def joined(forward, reverse):
    """Output and final states of two directions, (output, states) each, as a bidirectional layer has them."""
    states = (torch.cat(pair) for pair in zip(forward[1], reverse[1], strict=True))
    return torch.cat([forward[0], reverse[0]], dim=-1), *states


def packed(spec, weights, x, lengths, h_0, c_0):
    """Rows packed by length: right."""
    supported(spec, lengths)
    output, states = run_packed(module(spec), weights, x, lengths, h_0, c_0)
    return output, *states


def padding_fed(spec, weights, x, lengths, h_0, c_0):
    """The padded batch fed as it is, and the output cut off by the lengths."""
    supported(spec, lengths)
    output, states = run(module(spec), weights, cleared(x, lengths), h_0, c_0)
    return cleared(output, lengths), *states


def padded_batch_flipped(spec, weights, x, lengths, h_0, c_0):
    """Two layers of one direction, the second on the flipped batch: the padding comes first there."""
    supported(spec, lengths)
    x = cleared(x, lengths)
    layer, mine, *initial = one_way(spec, weights, h_0, c_0, 0)
    forward = run(layer, mine, x, *initial)
    layer, mine, *initial = one_way(spec, weights, h_0, c_0, 1)
    output, states = run(layer, mine, x.flip(1), *initial)
    output, *states = joined(forward, (output.flip(1), states))
    return cleared(output, lengths), *states


def time_over_the_batch(spec, weights, x, lengths, h_0, c_0):
    """The same on layers that are time-major, as torch.nn's are by default, fed batch-first data: rows take the place
    of steps, which raises with initial states, unless there are as many rows as steps.
    """
    supported(spec, lengths)
    x = cleared(x, lengths)
    output, states = run(module(spec, batch_first=False), weights, x, h_0, c_0)
    return cleared(output, lengths), *states


def reverse_half_not_flipped_back(spec, weights, x, lengths, h_0, c_0):
    """Two layers of one direction, the second on rows reversed by length, its output left in that order."""
    supported(spec, lengths)
    steps = torch.arange(x.shape[1])
    back = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # (batch, seq_len)
    reversed_rows = x.gather(1, back[..., None].expand_as(x))
    layer, mine, *initial = one_way(spec, weights, h_0, c_0, 0)
    forward = run_packed(layer, mine, x, lengths, *initial)
    layer, mine, *initial = one_way(spec, weights, h_0, c_0, 1)
    return joined(forward, run_packed(layer, mine, reversed_rows, lengths, *initial))


def last_output_as_state(spec, weights, x, lengths, h_0, c_0):
    """The output at the last real step taken for the final state of both halves; the reverse half ends at step 0."""
    output, _, *c_n = packed(spec, weights, x, lengths, h_0, c_0)
    last = output[torch.arange(len(lengths)), lengths - 1]
    return output, torch.stack(last.split(spec.hidden_size, dim=-1)), *c_n


def states_reversed(spec, weights, x, lengths, h_0, c_0):
    """h_n read as (reverse, forward)."""
    output, *states = packed(spec, weights, x, lengths, h_0, c_0)
    return output, *(state.flip(0) for state in states)


def states_in_flax_order(spec, weights, x, lengths, h_0, c_0):
    """(c, h), as Flax has them, where (h, c) is meant."""
    if spec.cell != "lstm":
        raise NotImplementedError("an LSTM's states")
    return packed(spec, weights, x, lengths, c_0, h_0)


def relu_for_tanh(spec, weights, x, lengths, h_0, c_0):
    """nonlinearity="relu" where the weights were trained with tanh."""
    if spec.cell != "rnn_tanh":
        raise NotImplementedError("a tanh RNN")
    supported(spec, lengths)
    output, states = run_packed(module(spec, nonlinearity="relu"), weights, x, lengths, h_0, c_0)
    return output, *states


PATTERNS = (
    packed,
    padding_fed,
    padded_batch_flipped,
    time_over_the_batch,
    reverse_half_not_flipped_back,
    last_output_as_state,
    states_reversed,
    states_in_flax_order,
    relu_for_tanh,
)

if __name__ == "__main__":
    spec = birnn.Specification(cell="lstm", input_size=4, hidden_size=6, num_layers=1, bias=True, merge="concat")
    case = birnn.make_case(spec, batch=3, seq_len=6, lengths=[5, 3, 1])
    for pattern in PATTERNS:
        print(pattern.__doc__)
        print(birnn.verify(pattern, framework="torch", cases=[case], dtypes=["float32"]), end="\n\n")
