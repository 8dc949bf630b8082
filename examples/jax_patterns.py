"""Patterns that tutorials teach for a bidirectional layer in Flax, and what the suite says of each:
python examples/jax_patterns.py. The first one is right; the others run, train and are wrong.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

import birnn

CELLS = {"rnn_tanh": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell}
GATES = {"rnn_tanh": ("",), "lstm": ("i", "f", "g", "o")}


def supported(spec, lengths):
    if spec.num_layers > 1 or spec.merge != "concat" or spec.hidden_size_reverse is not None or not spec.bias:
        raise NotImplementedError("one layer with biases and concat, of equal halves")
    if spec.cell not in CELLS or lengths is None or (lengths == 0).any():
        raise NotImplementedError("a tanh RNN or an LSTM, on rows with lengths, none of them 0")


def rnn(spec, **options):
    return nn.RNN(CELLS[spec.cell](spec.hidden_size), return_carry=True, **options)


def parameters(spec, weights, suffix):
    """One direction's, in Flax's layout: kernels transposed, one dense layer for each gate, biases summed."""
    gates = GATES[spec.cell]
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_ih, w_hh, b_ih, b_hh = (jnp.split(weights[f"{kind}_l0{suffix}"], len(gates)) for kind in kinds)
    dense = {}
    for i, gate in enumerate(gates):
        dense |= {f"i{gate}": {"kernel": w_ih[i].T}, f"h{gate}": {"kernel": w_hh[i].T}}
        dense[f"h{gate}" if spec.cell == "lstm" else "i"]["bias"] = b_ih[i] + b_hh[i]
    return {"params": {"cell": dense}}


def directions(spec, weights, h_0, c_0):
    """Parameters and initial carry of each direction; an LSTM's carry is (c, h)."""
    for direction, suffix in enumerate(("", "_reverse")):
        carry = h_0[direction] if c_0 is None else (c_0[direction], h_0[direction])
        yield parameters(spec, weights, suffix), carry


def joined(forward, reverse):
    """Output and final states of two directions, (carry, output) each, as a bidirectional layer has them."""
    (carry, output), (reverse_carry, reverse_output) = forward, reverse
    if isinstance(carry, tuple):
        states = [jnp.stack(pair) for pair in zip(carry, reverse_carry, strict=True)][::-1]  # (c, h) to (h, c)
    else:
        states = [jnp.stack([carry, reverse_carry])]
    return jnp.concatenate([output, reverse_output], axis=-1), *states


def cleared(x, lengths):
    """Zeros past the lengths."""
    return jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)


def with_lengths(spec, weights, x, lengths, h_0, c_0):
    """Lengths given to both halves, keep_order=True, outputs cut off by the lengths: right."""
    supported(spec, lengths)
    (mine, carry), (others, other_carry) = directions(spec, weights, h_0, c_0)
    x, options = cleared(x, lengths), {"seq_lengths": lengths}
    forward = rnn(spec).apply(mine, x, initial_carry=carry, **options)
    reverse = rnn(spec, reverse=True, keep_order=True).apply(others, x, initial_carry=other_carry, **options)
    output, *states = joined(forward, reverse)
    return cleared(output, lengths), *states


def padding_fed(spec, weights, x, lengths, h_0, c_0):
    """The padded batch fed as it is, and the output cut off by the lengths."""
    supported(spec, lengths)
    full = jnp.full_like(lengths, x.shape[1])
    output, *states = with_lengths(spec, weights, cleared(x, lengths), full, h_0, c_0)
    return cleared(output, lengths), *states


def padded_batch_flipped(spec, weights, x, lengths, h_0, c_0):
    """A layer of one direction on the flipped batch, beside one with lengths: the padding comes first there."""
    supported(spec, lengths)
    (mine, carry), (others, other_carry) = directions(spec, weights, h_0, c_0)
    x = cleared(x, lengths)
    forward = rnn(spec).apply(mine, x, initial_carry=carry, seq_lengths=lengths)
    carry, reverse = rnn(spec).apply(others, jnp.flip(x, 1), initial_carry=other_carry)
    output, *states = joined(forward, (carry, jnp.flip(reverse, 1)))
    return cleared(output, lengths), *states


def time_over_the_batch(spec, weights, x, lengths, h_0, c_0):
    """Scans over the leading axis, as jax.lax.scan does, of batch-first data: rows take the place of steps, which
    raises with initial states, unless there are as many rows as steps.
    """
    supported(spec, lengths)
    (mine, carry), (others, other_carry) = directions(spec, weights, h_0, c_0)
    x = cleared(x, lengths)
    forward = rnn(spec, time_major=True).apply(mine, x, initial_carry=carry)
    carry, reverse = rnn(spec, time_major=True).apply(others, jnp.flip(x, 0), initial_carry=other_carry)
    output, *states = joined(forward, (carry, jnp.flip(reverse, 0)))
    return cleared(output, lengths), *states


def reverse_half_not_flipped_back(spec, weights, x, lengths, h_0, c_0):
    """reverse=True without keep_order=True: the output comes in the order that it was computed in."""
    supported(spec, lengths)
    (mine, carry), (others, other_carry) = directions(spec, weights, h_0, c_0)
    x, options = cleared(x, lengths), {"seq_lengths": lengths}
    forward = rnn(spec).apply(mine, x, initial_carry=carry, **options)
    reverse = rnn(spec, reverse=True).apply(others, x, initial_carry=other_carry, **options)
    output, *states = joined(forward, reverse)
    return cleared(output, lengths), *states


def last_output_as_state(spec, weights, x, lengths, h_0, c_0):
    """The output at the last real step taken for the final state of both halves; the reverse half ends at step 0."""
    output, _, *c_n = with_lengths(spec, weights, x, lengths, h_0, c_0)
    last = output[jnp.arange(len(lengths)), lengths - 1]
    return output, jnp.stack(jnp.split(last, 2, axis=-1)), *c_n


def states_in_torch_order(spec, weights, x, lengths, h_0, c_0):
    """(h, c), as torch.nn has them, for Flax's carry (c, h), going in and coming out."""
    if spec.cell != "lstm":
        raise NotImplementedError("an LSTM's states")
    output, h_n, c_n = with_lengths(spec, weights, x, lengths, c_0, h_0)
    return output, c_n, h_n


PATTERNS = (
    with_lengths,
    padding_fed,
    padded_batch_flipped,
    time_over_the_batch,
    reverse_half_not_flipped_back,
    last_output_as_state,
    states_in_torch_order,
)

if __name__ == "__main__":
    spec = birnn.Specification(cell="lstm", input_size=4, hidden_size=6, num_layers=1, bias=True, merge="concat")
    case = birnn.make_case(spec, batch=3, seq_len=6, lengths=[5, 3, 1])
    for pattern in PATTERNS:
        print(pattern.__doc__)
        print(birnn.verify(pattern, framework="jax", cases=[case], dtypes=["float32"]), end="\n\n")
