"""Patterns that tutorials teach for a bidirectional layer in Keras, and what the suite says of each:
python examples/tensorflow_patterns.py. The first one is right; the others run, train and are wrong.
"""

from __future__ import annotations

import keras
import tensorflow as tf

import birnn

KINDS = {"rnn_tanh": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM}


def supported(spec, lengths):
    if spec.num_layers > 1 or spec.merge != "concat" or spec.hidden_size_reverse is not None or not spec.bias:
        raise NotImplementedError("one layer with biases and concat, of equal halves")
    if spec.cell not in KINDS or lengths is None or tf.reduce_any(lengths == 0):
        raise NotImplementedError("a tanh RNN or an LSTM, on rows with lengths, none of them 0")


def run(spec, weights, x, h_0, c_0, direction, mask=None, **options):
    """A layer of one direction, with that direction's weights and initial states: output, and final states."""
    options |= {"return_sequences": True, "return_state": True, "zero_output_for_mask": True, "dtype": x.dtype.name}
    layer = KINDS[spec.cell](spec.hidden_size, **options)
    layer.build(x.shape)
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_ih, w_hh, b_ih, b_hh = (weights[f"{kind}_l0{('', '_reverse')[direction]}"] for kind in kinds)
    values = [tf.transpose(w_ih), tf.transpose(w_hh), b_ih + b_hh]
    with keras.StatelessScope(zip(layer.trainable_variables, values, strict=True)):
        initial = [state[direction] for state in (h_0, c_0) if state is not None]
        output, *states = layer(x, initial_state=initial, mask=mask)
    return output, states


def joined(forward, reverse):
    """Output and final states of two directions, (output, states) each, as a bidirectional layer has them."""
    states = (tf.stack(pair) for pair in zip(forward[1], reverse[1], strict=True))
    return tf.concat([forward[0], reverse[0]], axis=-1), *states


def cleared(x, lengths):
    """Zeros past the lengths."""
    return tf.where(tf.sequence_mask(lengths, x.shape[1])[..., None], x, tf.zeros_like(x))


def masked(spec, weights, x, lengths, h_0, c_0):
    """A mask for both halves, and the output of go_backwards=True flipped back, as Bidirectional does: right."""
    supported(spec, lengths)
    x, mask = cleared(x, lengths), tf.sequence_mask(lengths, x.shape[1])
    forward = run(spec, weights, x, h_0, c_0, 0, mask)
    output, states = run(spec, weights, x, h_0, c_0, 1, mask, go_backwards=True)
    return joined(forward, (tf.reverse(output, axis=[1]), states))


def padding_fed(spec, weights, x, lengths, h_0, c_0):
    """The padded batch fed without a mask, and the output cut off by the lengths."""
    supported(spec, lengths)
    x = cleared(x, lengths)
    forward = run(spec, weights, x, h_0, c_0, 0)
    output, states = run(spec, weights, x, h_0, c_0, 1, go_backwards=True)
    output, *states = joined(forward, (tf.reverse(output, axis=[1]), states))
    return cleared(output, lengths), *states


def padded_batch_flipped(spec, weights, x, lengths, h_0, c_0):
    """A layer on the flipped batch beside one with a mask, which is not flipped: the padding comes first there."""
    supported(spec, lengths)
    x = cleared(x, lengths)
    forward = run(spec, weights, x, h_0, c_0, 0, tf.sequence_mask(lengths, x.shape[1]))
    output, states = run(spec, weights, tf.reverse(x, axis=[1]), h_0, c_0, 1)
    output, *states = joined(forward, (tf.reverse(output, axis=[1]), states))
    return cleared(output, lengths), *states


def reverse_half_not_flipped_back(spec, weights, x, lengths, h_0, c_0):
    """Rows reversed by their lengths, and the output left in that order, as that of go_backwards=True is."""
    supported(spec, lengths)
    x, mask = cleared(x, lengths), tf.sequence_mask(lengths, x.shape[1])
    forward = run(spec, weights, x, h_0, c_0, 0, mask)
    return joined(forward, run(spec, weights, tf.reverse_sequence(x, lengths, seq_axis=1), h_0, c_0, 1, mask))


def last_output_as_state(spec, weights, x, lengths, h_0, c_0):
    """The output at the last real step taken for the final state of both halves; the reverse half ends at step 0."""
    output, _, *c_n = masked(spec, weights, x, lengths, h_0, c_0)
    last = tf.gather(output, lengths - 1, batch_dims=1)
    return output, tf.stack(tf.split(last, 2, axis=-1)), *c_n


def states_unpacked_by_kind(spec, weights, x, lengths, h_0, c_0):
    """Bidirectional's four states read as (forward h, reverse h, forward c, reverse c); they come by direction."""
    if spec.cell != "lstm":
        raise NotImplementedError("an LSTM's states")
    output, h_n, c_n = masked(spec, weights, x, lengths, h_0, c_0)
    forward_h, reverse_h, forward_c, reverse_c = h_n[0], c_n[0], h_n[1], c_n[1]
    return output, tf.stack([forward_h, reverse_h]), tf.stack([forward_c, reverse_c])


def relu_for_tanh(spec, weights, x, lengths, h_0, c_0):
    """activation="relu" where the weights were trained with tanh."""
    supported(spec, lengths)
    if spec.cell != "rnn_tanh":
        raise NotImplementedError("a tanh RNN")
    x, mask = cleared(x, lengths), tf.sequence_mask(lengths, x.shape[1])
    forward = run(spec, weights, x, h_0, c_0, 0, mask, activation="relu")
    output, states = run(spec, weights, x, h_0, c_0, 1, mask, go_backwards=True, activation="relu")
    return joined(forward, (tf.reverse(output, axis=[1]), states))


PATTERNS = (
    masked,
    padding_fed,
    padded_batch_flipped,
    reverse_half_not_flipped_back,
    last_output_as_state,
    states_unpacked_by_kind,
    relu_for_tanh,
)

if __name__ == "__main__":
    spec = birnn.Specification(cell="lstm", input_size=4, hidden_size=6, num_layers=1, bias=True, merge="concat")
    case = birnn.make_case(spec, batch=3, seq_len=6, lengths=[5, 3, 1])
    for pattern in PATTERNS:
        print(pattern.__doc__)
        print(birnn.verify(pattern, framework="tensorflow", cases=[case], dtypes=["float32"]), end="\n\n")
